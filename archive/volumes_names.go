package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	// minDigits is how many digits a number has at least; those of volumes begin with a 0, so that FILE.0* are all
	// volumes and nothing else, in their order.
	minDigits = 3
	// maxName is how long the name of a file can be on the file systems that matter.
	maxName = 255
)

// Limits of how an archive is split.
const (
	// MinVolume is the least size of a volume, in bytes.
	MinVolume = 1 << 10
	// MaxVolumes is how many volumes an archive can have.
	MaxVolumes = 99999
	// MaxVolumesRecovery is how many volumes and recovery volumes an archive with recovery volumes can have together.
	MaxVolumesRecovery = 256
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

// parseVolumeName takes the name of a file, without its directory, apart. It says false for other names.
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
		return name, stem != "" && name.digits == minDigits && number < MaxVolumesRecovery
	}
	return name, base[dot+1] == '0' && number <= MaxVolumes
}

// volumeDigits returns how many digits number count volumes.
func volumeDigits(count int64) int { return max(minDigits, len(strconv.FormatInt(count, 10))+1) }

// volumeFile returns the name of a volume, with its number from 1, of FILE.
func volumeFile(file string, number, digits int) string {
	return fmt.Sprintf("%s.%0*d", file, digits, number)
}

// recoveryFile returns the name of a recovery volume, with its number from 1, of FILE.
func recoveryFile(file string, number int) string {
	return fmt.Sprintf("%s%s%0*d", file, recoveryInfix, minDigits, number)
}

// checkStem says why volumes can't be named after stem. What it lets pass can stand in a list as sha256sum reads it,
// and is told apart again by parseVolumeName.
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

// removeOld removes what an earlier pack left under the name file: the archive itself, volumes, recovery volumes, and
// the list, if they are ours; but for those that keep names, without their directory. The highest numbers go first
// and the list last, so that what an interruption leaves is known to lack something.
func removeOld(fsys durable.FS, file string, keep []string) error {
	dir := filepath.Dir(file)
	old, err := findOld(dir, filepath.Base(file), keep)
	if err != nil {
		return fmt.Errorf("look for older volumes of %s: %w", file, err)
	}
	for _, name := range old {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove an older volume: %w", err)
		}
	}
	if len(old) == 0 {
		return nil
	}
	return fsys.SyncDir(dir)
}

// findOld lists what removeOld removes, in its order. Others may have files of such names: where nothing among them is
// known to be ours, they stay.
func findOld(dir, stem string, keep []string) ([]string, error) {
	parts, err := findParts(dir, stem, nil)
	if err != nil || !slices.ContainsFunc(parts, func(name string) bool { return isOurs(filepath.Join(dir, name)) }) {
		return nil, err
	}
	parts, err = findParts(dir, stem, keep)
	return slices.DeleteFunc(parts, func(name string) bool { return name == stem && !isOurs(filepath.Join(dir, name)) }), err
}

// isOurs says whether a file begins as an archive, a recovery volume or a list of ours does.
func isOurs(path string) bool {
	raw, err := readSome(path, tarBlock)
	return err == nil && (bytes.HasPrefix(raw, []byte(listMagic)) || bytes.HasPrefix(raw, []byte(headMagic)) ||
		bytes.HasPrefix(raw, []byte(layoutName+"\x00")))
}

// findParts lists the archive of a name, its volumes and recovery volumes, and its list if it is one of ours.
func findParts(dir, stem string, keep []string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	kept := make(map[string]bool, len(keep))
	for _, name := range keep {
		kept[name] = true
	}
	var volumes, lists []string
	for _, entry := range entries {
		base := entry.Name()
		name, ok := parseVolumeName(base)
		isFile := base == stem
		if kept[base] || !isFile && (!ok || name.stem != stem) || entry.Type()&^fs.ModeSymlink != 0 {
			continue
		}
		switch {
		case isFile || name.kind != kindList:
			volumes = append(volumes, base)
		case isOurs(filepath.Join(dir, base)):
			lists = append(lists, base)
		}
	}
	slices.Reverse(volumes) // ReadDir sorts
	return append(volumes, lists...), nil
}

// readSome reads at most limit bytes of a regular file.
func readSome(path string, limit int64) (raw []byte, err error) {
	file, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return io.ReadAll(io.LimitReader(file, limit))
}

// errNotFile says that there is something else than a file.
var errNotFile = errors.New("not a regular file")

// openRegular opens a file and returns its size. Nothing that could block is opened.
func openRegular(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &fs.PathError{Op: "open", Path: path, Err: errNotFile}
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	return file, info.Size(), nil
}
