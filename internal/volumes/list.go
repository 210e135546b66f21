package volumes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrList marks a list of volumes, or the head of a recovery volume, that was changed or makes no sense.
var ErrList = errors.New("bad list of volumes")

const (
	listMagic   = "# ocicache volumes, version "
	listVersion = "1"
	headMagic   = "ocicache recovery volume, version "
	headVersion = "1"
	// headFormat is the first line of a recovery volume: its number and the length of the list that follows.
	headFormat = headMagic + headVersion + ", number %03d, list of %08d bytes\n"
	// maxList is the largest list that is read, in bytes: the longest names, and as many as there can be.
	maxList = (MaxVolumes + 1) * (sumLength + 2 + maxName + 1)
	// maxHeadList is the largest list in a head.
	maxHeadList = 2 * (MaxRecoverable + 8) * (sumLength + 16 + maxName)
	// sumLength is how long a sum is in hexadecimal.
	sumLength = 2 * sha256.Size
)

// listing says how an archive is split: the file FILE.SHA256SUMS, and the head of each recovery volume.
type listing struct {
	stem  string   // FILE when it was written
	id    string   // of the archive
	total int64    // bytes of the archive
	size  int64    // bytes of every volume but the last
	sums  []string // of the volumes, in hexadecimal
	// recovery has the sums of the recovery volumes.
	recovery []recoverySum
}

// recoverySum has the sums of a recovery volume. The list in its head can't contain the sum of the whole file.
type recoverySum struct {
	payload string // what follows the head
	file    string
}

// volumeSize returns the size of volume i, counted from 0.
func (l *listing) volumeSize(i int) int64 { return min(l.size, l.total-int64(i)*l.size) }

// count returns how many volumes there have to be.
func (l *listing) count() int64 { return (l.total-1)/l.size + 1 }

// digits returns how many digits their numbers have.
func (l *listing) digits() int { return volumeDigits(l.count()) }

// volumeFile returns the name of volume i, counted from 0, of an archive that is now named file.
func (l *listing) volumeFile(file string, i int) string { return volumeFile(file, i+1, l.digits()) }

// same reports whether both are about the same volumes, whatever their names were.
func (l *listing) same(other *listing) bool {
	return l.id == other.id && l.total == other.total && l.size == other.size && slices.Equal(l.sums, other.sums) &&
		slices.EqualFunc(l.recovery, other.recovery, func(a, b recoverySum) bool { return a.payload == b.payload })
}

// files returns the sums of all files that the list names, by name; the list itself is not among them.
func (l *listing) files() map[string]string {
	files := make(map[string]string, len(l.sums)+len(l.recovery))
	for i, sum := range l.sums {
		files[l.volumeFile(l.stem, i)] = sum
	}
	for i, sum := range l.recovery {
		files[recoveryFile(l.stem, i+1)] = sum.file
	}
	return files
}

// marshal returns the list as sha256sum reads it, with comments for what that does not know; inHead leaves out the sums of
// the recovery volumes' files.
func (l *listing) marshal(inHead bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\n# archive %s\n# total %d bytes\n# volume %d bytes\n",
		listMagic, listVersion, l.id, l.total, l.size)
	for i, sum := range l.sums {
		fmt.Fprintf(&b, "%s  %s\n", sum, l.volumeFile(l.stem, i))
	}
	for i, sum := range l.recovery {
		fmt.Fprintf(&b, "# payload %s\n", sum.payload)
		if !inHead {
			fmt.Fprintf(&b, "%s  %s\n", sum.file, recoveryFile(l.stem, i+1))
		}
	}
	fmt.Fprintf(&b, "# list %s\n", sumOf(b.Bytes()))
	return b.Bytes()
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// parseList reads a list, from a head or from a file. It takes nothing but what marshal writes and fails with ErrList
// otherwise.
func parseList(raw []byte, inHead bool) (*listing, error) {
	list, err := scanList(string(raw))
	if err == nil {
		err = list.check()
	}
	if err == nil && !bytes.Equal(list.marshal(inHead), raw) {
		err = errors.New("it was changed, or does not end")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrList, err)
	}
	return list, nil
}

// scanList takes what it finds; parseList checks whether that is everything.
func scanList(text string) (*listing, error) {
	rest, ok := strings.CutPrefix(text, listMagic)
	if !ok {
		return nil, errors.New("not one that ocicache wrote")
	}
	list := &listing{}
	version, rest, _ := strings.Cut(rest, "\n")
	if version != listVersion {
		return nil, fmt.Errorf("version %q is not known to this version of ocicache", version)
	}
	for line := range strings.Lines(rest) {
		if err := list.scanLine(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (l *listing) scanLine(line string) (err error) {
	comment, isComment := strings.CutPrefix(line, "# ")
	if !isComment {
		return l.scanSum(line)
	}
	key, value, _ := strings.Cut(comment, " ")
	switch key {
	case "archive":
		l.id = value
		return checkID(value)
	case "total":
		l.total, err = strconv.ParseInt(strings.TrimSuffix(value, " bytes"), 10, 64)
	case "volume":
		l.size, err = strconv.ParseInt(strings.TrimSuffix(value, " bytes"), 10, 64)
	case "payload":
		l.recovery = append(l.recovery, recoverySum{payload: value})
		return checkSum(value)
	case "list":
		return checkSum(value)
	default:
		return fmt.Errorf("the line %.80q is not known", line)
	}
	return err
}

func (l *listing) scanSum(line string) error {
	sum, base, ok := strings.Cut(line, "  ")
	if err := checkSum(sum); err != nil || !ok {
		return fmt.Errorf("the line %.80q has no sum and name", line)
	}
	name, ok := parseVolumeName(base)
	switch {
	case !ok:
		return fmt.Errorf("%.80q is no name of a volume", base)
	case name.kind == kindVolume:
		l.sums = append(l.sums, sum)
		l.stem = name.stem
		return checkStem(l.stem)
	case name.kind == kindRecovery && len(l.recovery) > 0:
		l.recovery[len(l.recovery)-1].file = sum
		return nil
	default:
		return fmt.Errorf("%.80q has no place there", base)
	}
}

// checkID says why an archive can't have the id.
func checkID(id string) error {
	if id == "" || len(id) > maxName || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%.80q is no id: want visible ASCII characters, %d at most", id, maxName)
	}
	return nil
}

func checkSum(sum string) error {
	if len(sum) != sumLength || strings.Trim(sum, "0123456789abcdef") != "" {
		return fmt.Errorf("%.80q is no sum", sum)
	}
	return nil
}

// check fails if the numbers do not fit together.
func (l *listing) check() error {
	if l.total <= 0 || l.size <= 0 || l.size > l.total {
		return fmt.Errorf("an archive of %d bytes can't have volumes of %d", l.total, l.size)
	}
	count := l.count()
	if count != int64(len(l.sums)) {
		return fmt.Errorf("an archive of %d bytes has %d volumes of %d bytes, and there are sums of %d",
			l.total, count, l.size, len(l.sums))
	}
	return checkCounts(count, len(l.recovery))
}

// checkCounts fails if there are too many volumes and recovery volumes.
func checkCounts(volumes int64, recovery int) error {
	switch {
	case volumes > MaxVolumes:
		return fmt.Errorf("that makes %d volumes, and %d are the most", volumes, MaxVolumes)
	case recovery > 0 && volumes+int64(recovery) > MaxRecoverable:
		return fmt.Errorf("that makes %d volumes with %d recovery volumes, and %d are the most together",
			volumes, recovery, MaxRecoverable)
	}
	return nil
}
