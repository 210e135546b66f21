package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// someList is a list of volumes of 1024 bytes, the last of 100.
func someList(volumes, recovery int) *listing {
	list := &listing{
		stem: "cache.tar", id: "sha256:" + sumOf([]byte("archive")), total: int64(volumes-1)*1024 + 100, size: 1024,
	}
	if volumes == 1 {
		list.size = list.total
	}
	for i := range volumes {
		list.sums = append(list.sums, sumOf(fmt.Append(nil, "volume", i)))
	}
	for i := range recovery {
		list.recovery = append(list.recovery, recoverySum{
			payload: sumOf(fmt.Append(nil, "payload", i)), file: sumOf(fmt.Append(nil, "file", i)),
		})
	}
	return list
}

func TestListRoundTrip(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		volumes, recovery int
		first, last       string
	}{
		{1, 0, "cache.tar.001", "cache.tar.001"},
		{99, 3, "cache.tar.001", "cache.tar.099"},
		{100, 156, "cache.tar.0001", "cache.tar.0100"},
		{1000, 0, "cache.tar.00001", "cache.tar.01000"},
	} {
		list := someList(test.volumes, test.recovery)
		raw := list.marshal(false)
		got, err := parseList(raw, false)
		if err != nil {
			t.Fatalf("%d volumes: %v", test.volumes, err)
		}
		if !got.same(list) || got.stem != "cache.tar" || !slices.Equal(got.recovery, list.recovery) {
			t.Errorf("%d volumes: got another list", test.volumes)
		}
		for _, name := range []string{test.first, test.last} {
			if !bytes.Contains(raw, []byte("  "+name+"\n")) {
				t.Errorf("%d volumes: no %s in the list", test.volumes, name)
			}
		}
		head := list.marshalHead(max(1, test.recovery))
		parsed, err := parseHead(bytes.NewReader(head))
		switch {
		case test.recovery == 0:
			if !errors.Is(err, ErrList) {
				t.Errorf("a head for no recovery volume: %v", err)
			}
		case err != nil:
			t.Errorf("%d volumes: head: %v", test.volumes, err)
		case !parsed.list.same(list) || parsed.number != test.recovery || parsed.length != int64(len(head)):
			t.Errorf("%d volumes: got another head", test.volumes)
		}
	}
}

// Each bit of a list and of a head counts.
func TestListEveryBit(t *testing.T) {
	t.Parallel()
	list, head := someList(3, 2).marshal(false), someList(3, 2).marshalHead(2)
	for i := range list {
		changed := bytes.Clone(list)
		changed[i] ^= 1
		if _, err := parseList(changed, false); !errors.Is(err, ErrList) {
			t.Errorf("bit at %d of the list: %v", i, err)
		}
		if _, err := parseList(list[:i], false); !errors.Is(err, ErrList) {
			t.Errorf("list cut off at %d: %v", i, err)
		}
	}
	for i := range head {
		changed := bytes.Clone(head)
		changed[i] ^= 1
		if _, err := parseHead(bytes.NewReader(changed)); !errors.Is(err, ErrList) {
			t.Errorf("bit at %d of the head: %v", i, err)
		}
		if _, err := parseHead(bytes.NewReader(head[:i])); !errors.Is(err, ErrList) {
			t.Errorf("head cut off at %d: %v", i, err)
		}
	}
}

// resum gives a list that was changed the sum that it would have.
func resum(text string) []byte {
	text = text[:strings.LastIndex(text, "# list ")]
	return fmt.Appendf([]byte(text), "# list %s\n", sumOf([]byte(text)))
}

var hostileLists = []struct{ name, old, replacement string }{
	{"total overflows", "total 2148 bytes", "total 9223372036854775808 bytes"},
	{"total is huge", "total 2148 bytes", "total 9223372036854775807 bytes"},
	{"total is negative", "total 2148 bytes", "total -2148 bytes"},
	{"total is nothing", "total 2148 bytes", "total 0 bytes"},
	{"total has a sign", "total 2148 bytes", "total +2148 bytes"},
	{"total has zeros", "total 2148 bytes", "total 02148 bytes"},
	{"total without unit", "total 2148 bytes", "total 2148"},
	{"volumes of nothing", "volume 1024 bytes", "volume 0 bytes"},
	{"volumes of one byte", "volume 1024 bytes", "volume 1 bytes"},
	{"volumes are negative", "volume 1024 bytes", "volume -1024 bytes"},
	{"volumes are larger than all", "volume 1024 bytes", "volume 4096 bytes"},
	{"volumes overflow", "volume 1024 bytes", "volume 99999999999999999999 bytes"},
	{"fewer volumes than sums", "volume 1024 bytes", "volume 2048 bytes"},
	{"no archive", "# archive sha256:" + sumOf([]byte("archive")), "# archive "},
	{"an archive of two words", "# archive sha256:", "# archive sha256: "},
	{"unknown version", "version 1\n", "version 2\n"},
	{"unknown comment", "# total", "# count 1000000000\n# total"},
	{"a field twice", "# total", "# total 2148 bytes\n# total"},
	{"an empty line", "# total", "\n# total"},
	{"a volume twice", "cache.tar.002", "cache.tar.001"},
	{"a volume too far", "cache.tar.003", "cache.tar.004"},
	{"a volume with a huge number", "cache.tar.003", "cache.tar.01000000000"},
	{"a volume with number 0", "cache.tar.001", "cache.tar.000"},
	{"a volume elsewhere", "cache.tar.003", "/etc/cache.tar.003"},
	{"a volume above", "cache.tar.003", "../cache.tar.003"},
	{"a volume of another name", "cache.tar.002", "other.tar.002"},
	{"a volume of no name", "cache.tar.002", ".002"},
	{"a volume that is a list", "cache.tar.002", "cache.tar.SHA256SUMS"},
	{"a recovery volume twice", "cache.tar.parity.002", "cache.tar.parity.001"},
	{"a recovery volume for a volume", "cache.tar.001", "cache.tar.parity.001"},
	{"a volume for a recovery volume", "cache.tar.parity.001", "cache.tar.004"},
	{"line ends of another system", "\n", "\r\n"},
	{"a name in binary mode", "  cache.tar.001", " *cache.tar.001"},
}

func TestHostileLists(t *testing.T) {
	t.Parallel()
	for _, test := range hostileLists {
		for _, inHead := range []bool{false, true} {
			text := string(someList(3, 2).marshal(inHead))
			changed := strings.ReplaceAll(text, test.old, test.replacement)
			if changed == text {
				if !inHead {
					t.Errorf("%s: nothing was changed", test.name)
				}
				continue
			}
			if _, err := parseList(resum(changed), inHead); !errors.Is(err, ErrList) {
				t.Errorf("%s (in a head: %v): %v", test.name, inHead, err)
			}
		}
	}
	if _, err := parseList(someList(3, 2).marshal(true), false); !errors.Is(err, ErrList) {
		t.Errorf("a list without the sums of recovery volumes: %v", err)
	}
	if _, err := parseList(someList(200, 57).marshal(false), false); !errors.Is(err, ErrList) {
		t.Errorf("257 volumes and recovery volumes: %v", err)
	}
	if _, err := parseList(append(someList(3, 2).marshal(false), "more\n"...), false); !errors.Is(err, ErrList) {
		t.Errorf("more after the end: %v", err)
	}
}

// A list that claims much costs no more than its own length. What the whole process allocates is measured: nothing may run beside it.
func TestHostileListsAllocateLittle(t *testing.T) {
	claim := strings.Replace(string(someList(3, 0).marshal(false)), "total 2148 bytes", "total 1099511627776 bytes", 1)
	head := []byte(fmt.Sprintf(headFormat, 1, 99999999) + strings.Repeat("x", 1000))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const rounds = 20
	for range rounds {
		if _, err := parseList(resum(claim), false); !errors.Is(err, ErrList) {
			t.Error(err)
		}
		if _, err := parseHead(bytes.NewReader(head)); !errors.Is(err, ErrList) {
			t.Error(err)
		}
	}
	runtime.ReadMemStats(&after)
	// Other tests run at the same time: this is about gigabytes.
	if used := after.TotalAlloc - before.TotalAlloc; used > rounds*(64<<20) {
		t.Errorf("%d bytes were allocated", used)
	}
}

func FuzzParseList(f *testing.F) {
	f.Add(someList(3, 2).marshal(false), false)
	f.Add(someList(3, 2).marshal(true), true)
	f.Add(someList(100, 0).marshal(false), false)
	for _, test := range hostileLists {
		text := strings.ReplaceAll(string(someList(3, 2).marshal(false)), test.old, test.replacement)
		f.Add(resum(text), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, inHead bool) {
		list, err := parseList(raw, inHead)
		if err != nil {
			if !errors.Is(err, ErrList) {
				t.Errorf("another error: %v", err)
			}
			return
		}
		if !bytes.Equal(list.marshal(inHead), raw) {
			t.Error("it is not what would be written")
		}
		if err := checkStem(list.stem); err != nil {
			t.Error(err)
		}
		var sum int64
		for i := range list.sums {
			if list.volumeSize(i) <= 0 {
				t.Fatalf("volume %d of %d bytes", i, list.volumeSize(i))
			}
			sum += list.volumeSize(i)
		}
		if sum != list.total {
			t.Errorf("volumes have %d bytes, the archive %d", sum, list.total)
		}
	})
}

func FuzzParseHead(f *testing.F) {
	f.Add(someList(3, 2).marshalHead(1))
	f.Add(someList(200, 56).marshalHead(56))
	f.Add(fmt.Appendf(nil, headFormat, -1, -1))
	f.Add(fmt.Appendf(nil, headFormat, 1, 99999999))
	f.Fuzz(func(t *testing.T, raw []byte) {
		head, err := parseHead(bytes.NewReader(raw))
		if err != nil {
			if !errors.Is(err, ErrList) {
				t.Errorf("another error: %v", err)
			}
			return
		}
		if head.length > int64(len(raw)) || !bytes.Equal(head.list.marshalHead(head.number), raw[:head.length]) {
			t.Error("it is not what would be written")
		}
	})
}
