package volumes

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ocicache/ocicache/internal/durable"
)

// How the files of an archive in volumes are named: FILE.001 and so on, FILE.parity.001 and so on, FILE.SHA256SUMS.
const (
	recoveryInfix = ".parity."
	listSuffix    = ".SHA256SUMS"
	// minDigits is the least number of digits; the numbers of volumes begin with a 0, so that FILE.0* are all
	// volumes, in order, and nothing else.
	minDigits = 3
	// maxName is the longest name of a file on the file systems that matter, in bytes.
	maxName = 255
)

// Limits of how an archive is split.
const (
	// MinVolume is the smallest size of a volume, in bytes.
	MinVolume = 1 << 10
	// MaxVolumes is how many volumes an archive can have.
	MaxVolumes = 99999
	// MaxRecoverable is how many volumes and recovery volumes an archive with recovery volumes can have together.
	MaxRecoverable = 256
)

// volumeKind is what a file of an archive in volumes is.
type volumeKind int

const (
	kindVolume volumeKind = iota
	kindRecovery
	kindList
)

// volumeName is what the name of such a file says.
type volumeName struct {
	stem   string // FILE, without its directory
	kind   volumeKind
	number int // from 1; 0 for a list
	digits int
}

// parseVolumeName splits the name of a file, without its directory. It returns false for other names.
func parseVolumeName(base string) (volumeName, bool) {
	if stem, ok := strings.CutSuffix(base, listSuffix); ok {
		return volumeName{stem: stem, kind: kindList}, stem != ""
	}
	dot := strings.LastIndexByte(base, '.')
	if dot <= 0 {
		return volumeName{}, false
	}
	name := volumeName{stem: base[:dot], digits: len(base) - dot - 1}
	number, err := strconv.ParseUint(base[dot+1:], 10, 31)
	if err != nil || number == 0 || name.digits < minDigits {
		return volumeName{}, false
	}
	name.number = int(number)
	if stem, ok := strings.CutSuffix(base[:dot+1], recoveryInfix); ok {
		name.stem, name.kind = stem, kindRecovery
		return name, stem != "" && name.digits == minDigits && number < MaxRecoverable
	}
	return name, base[dot+1] == '0' && number <= MaxVolumes
}

// volumeDigits returns how many digits the numbers of count volumes have.
func volumeDigits(count int64) int { return max(minDigits, len(strconv.FormatInt(count, 10))+1) }

// volumeFile returns the name of a volume of FILE, with its number, counted from 1.
func volumeFile(file string, number, digits int) string {
	return fmt.Sprintf("%s.%0*d", file, digits, number)
}

// recoveryFile returns the name of a recovery volume of FILE, with its number, counted from 1.
func recoveryFile(file string, number int) string {
	return fmt.Sprintf("%s%s%0*d", file, recoveryInfix, minDigits, number)
}

// checkStem says why volumes can't be named after stem. Any stem that it accepts can be in a list that sha256sum reads,
// and parseVolumeName finds it in names again.
func checkStem(stem string) error {
	if strings.ContainsFunc(stem, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == '/' }) {
		return fmt.Errorf("the name %q has characters that a list of sums can't hold", stem)
	}
	if len(stem)+len(listSuffix) > maxName {
		return fmt.Errorf("the name %q is too long", stem)
	}
	name, ok := parseVolumeName(volumeFile(stem, 1, minDigits))
	if !ok || name.kind != kindVolume || name.stem != stem {
		return fmt.Errorf("the name %q is like that of a recovery volume", stem)
	}
	return nil
}

// family returns everything that has the name of the archive file, or a name that a volume, a recovery volume or a list
// of it could have, sorted by name.
func family(file string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	base := filepath.Base(file)
	return slices.DeleteFunc(entries, func(entry fs.DirEntry) bool {
		name, ok := parseVolumeName(entry.Name())
		return entry.Name() != base && (!ok || name.stem != base)
	}), nil
}

// IsVolume reports whether a path is named like a volume, a recovery volume or a list.
func IsVolume(path string) bool {
	_, ok := parseVolumeName(filepath.Base(path))
	return ok
}

// Exist reports whether there are volumes or recovery volumes of an archive named file, or a list that Commit
// wrote. file may also be named like one of them that does not exist.
func Exist(file string) bool {
	entries, err := family(file)
	there := err == nil && slices.ContainsFunc(entries, func(entry fs.DirEntry) bool {
		name, ok := parseVolumeName(entry.Name())
		switch {
		case !ok || entry.Name() == filepath.Base(file) || entry.Type()&^fs.ModeSymlink != 0:
			return false
		case name.kind == kindList:
			raw, err := durable.ReadRegular(file+listSuffix, int64(len(listMagic)))
			return err == nil && string(raw) == listMagic
		}
		return true
	})
	name, ok := parseVolumeName(filepath.Base(file))
	return there || ok && Exist(filepath.Join(filepath.Dir(file), name.stem))
}
