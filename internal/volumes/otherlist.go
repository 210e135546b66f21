package volumes

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// otherList returns the name of the list if that is probably another archive's: it is right about no file, although the files fit each
// other. Else it returns "".
func (f *foundFiles) otherList(volumes, recovery []checked) string {
	isRight := func(c checked) bool { return c.err == nil || c.holds != 0 }
	if len(f.lists) == 0 || len(f.listFails) > 0 || slices.ContainsFunc(volumes, isRight) || slices.ContainsFunc(recovery, isRight) {
		return ""
	}
	said, ok := f.headsAgree()
	if !ok || said != nil && said.same(f.list) || !f.fitTogether(said) {
		return ""
	}
	return filepath.Base(f.lists[0])
}

// headsAgree returns what all heads of recovery volumes say, nil if there are no recovery volumes, and whether they say one thing.
func (f *foundFiles) headsAgree() (said *listing, ok bool) {
	for _, head := range f.heads {
		if said != nil && !said.same(head.list) {
			return nil, false
		}
		said = head.list
	}
	return said, len(f.headErrs) == 0
}

// fitTogether reports whether the volumes have the sizes of volumes of one archive: the one that a recovery volume names or, without one,
// two volumes or more that have one size, but for a smaller last one.
func (f *foundFiles) fitTogether(said *listing) bool {
	numbers := slices.Sorted(maps.Keys(f.volumes))
	if len(numbers) < 2 && said == nil {
		return false
	}
	var whole int64
	for at, number := range numbers {
		info, err := os.Stat(f.volumes[number][0].path)
		if err != nil || len(f.volumes[number]) > 1 {
			return false
		}
		isLast := at > 0 && at == len(numbers)-1
		switch size := info.Size(); {
		case said != nil && (number > len(said.sums) || size != said.volumeSize(number-1)), size == 0:
			return false
		case at == 0:
			whole = size
		case said == nil && size != whole && (!isLast || size > whole):
			return false
		}
	}
	return true
}
