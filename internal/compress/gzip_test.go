package compress_test

import (
	"bytes"
	stdlib "compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
	klauspost "github.com/klauspost/compress/gzip"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

// The flags of a member's header (RFC 1952, 2.3.1).
const (
	flagText, flagHeaderCRC, flagExtra, flagName, flagComment = 1, 2, 4, 8, 16
)

// gzMember is a member of gzip that a test makes by hand.
type gzMember struct {
	flags   byte
	extra   []byte // with its length
	names   string // name and comment, each with its end
	crc     bool   // of the header, right if it is not spoilt
	packed  []byte // deflated
	data    []byte // for the sums behind it
	head    func(head []byte)
	trailer func(trailer []byte)
}

func (m gzMember) bytes() []byte {
	head := append([]byte{0x1f, 0x8b, 8, m.flags, 0, 0, 0, 0, 0, 255}, slices.Concat(m.extra, []byte(m.names))...)
	if m.crc {
		head = binary.LittleEndian.AppendUint16(head, uint16(crc32.ChecksumIEEE(head))) //nolint:gosec // the lower half of it
	}
	if m.head != nil {
		m.head(head)
	}
	trailer := binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(m.data))
	trailer = binary.LittleEndian.AppendUint32(trailer, uint32(len(m.data))) //nolint:gosec // they are small
	if m.trailer != nil {
		m.trailer(trailer)
	}
	return slices.Concat(head, m.packed, trailer)
}

func deflated(tb testing.TB, data []byte, level int) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func withLength(extra string) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, uint16(len(extra))), extra...) //nolint:gosec // they are small
}

// oddity is a stream that is gzip, more or less.
type oddity struct {
	name string
	raw  []byte
	ok   bool
}

// oddities are what other programs than BuildKit write as gzip, and what they never should.
func oddities(tb testing.TB) []oddity {
	tb.Helper()
	data := smallTar(tb)
	packed := deflated(tb, data, 6)
	stored := append([]byte{1, byte(len(data)), byte(len(data) >> 8), ^byte(len(data)), ^byte(len(data) >> 8)}, data...)
	of := func(m gzMember) []byte {
		if m.packed == nil {
			m.packed = packed
		}
		if m.data == nil {
			m.data = data
		}
		return m.bytes()
	}
	plain := of(gzMember{})
	empty := gzMember{packed: []byte{3, 0}}.bytes()
	spoilt := func(at int) func([]byte) { return func(b []byte) { b[at] ^= 1 } }
	full := gzMember{flags: flagText | flagHeaderCRC | flagExtra | flagName | flagComment, extra: withLength("ab\x01\x00x"), names: "name\x00comment\x00", crc: true}
	bgzf := gzMember{flags: flagExtra, extra: withLength("BC\x02\x00\x1b\x00")}
	return []oddity{
		{"one member", plain, true},
		{"an empty member", empty, true},
		{"two members", slices.Concat(plain, plain), true},
		{"an empty member first", slices.Concat(empty, plain), true},
		{"an empty member between", slices.Concat(plain, empty, plain), true},
		{"an empty member last", slices.Concat(plain, empty), true},
		{"a thousand empty members", bytes.Repeat(empty, 1000), true},
		{"blocks of bgzf", slices.Concat(of(bgzf), gzMember{flags: bgzf.flags, extra: bgzf.extra, packed: []byte{3, 0}}.bytes()), true},
		{"nothing", nil, false},
		{"half a magic", []byte{0x1f}, false},
		{"nothing but a magic", []byte{0x1f, 0x8b}, false},
		{"nothing but a header", plain[:10], false},
		{"another magic", of(gzMember{head: spoilt(0)}), false},
		{"another method", of(gzMember{head: spoilt(2)}), false},
		{"text", of(gzMember{flags: flagText}), true},
		{"any time, flags and system", of(gzMember{head: func(h []byte) { copy(h[4:], "\xff\xff\xff\xff\x77\x33") }}), true},
		{"reserved flags", of(gzMember{flags: 0xe0}), false},
		{"an extra field", of(gzMember{flags: flagExtra, extra: withLength("extra")}), true},
		{"an extra field of nothing", of(gzMember{flags: flagExtra, extra: withLength("")}), true},
		{"the longest extra field", of(gzMember{flags: flagExtra, extra: withLength(strings.Repeat("x", 65535))}), true},
		{"an extra field that is cut", of(gzMember{flags: flagExtra, extra: withLength("extra")})[:14], false},
		{"a name", of(gzMember{flags: flagName, names: "layer.tar\x00"}), true},
		{"a name of nothing", of(gzMember{flags: flagName, names: "\x00"}), true},
		{"a name in Latin 1", of(gzMember{flags: flagName, names: "sch\xf6n.tar\x00"}), true},
		{"a name of 600 bytes", of(gzMember{flags: flagName, names: strings.Repeat("n", 600) + "\x00"}), false},
		{"a name without end", gzMember{flags: flagName, names: "layer"}.bytes()[:15], false},
		{"a comment", of(gzMember{flags: flagComment, names: "made by hand\x00"}), true},
		{"a sum of the header", of(gzMember{flags: flagHeaderCRC, crc: true}), true},
		{"a wrong sum of the header", of(gzMember{flags: flagHeaderCRC, crc: true, head: spoilt(10)}), false},
		{"everything in the header", of(full), true},
		{"everything in both headers", slices.Concat(of(full), of(full)), true},
		{"a wrong sum", of(gzMember{trailer: spoilt(0)}), false},
		{"a wrong size", of(gzMember{trailer: spoilt(4)}), false},
		{"a wrong sum in the second member", slices.Concat(plain, of(gzMember{trailer: spoilt(3)})), false},
		{"no sums", plain[:len(plain)-8], false},
		{"no size", plain[:len(plain)-4], false},
		{"a zero behind it", append(slices.Clone(plain), 0), false},
		{"a block of zeros behind it", append(slices.Clone(plain), make([]byte, 512)...), false},
		{"garbage behind it", append(slices.Clone(plain), "garbage behind it"...), false},
		{"half a magic behind it", append(slices.Clone(plain), 0x1f), false},
		{"a magic behind it", append(slices.Clone(plain), 0x1f, 0x8b), false},
		{"a header behind it", append(slices.Clone(plain), plain[:10]...), false},
		{"a header behind it, cut in a name", append(slices.Clone(plain), "\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x00name"...), true},
		{"zstd behind it", append(slices.Clone(plain), windowFrame(20)...), false},
		{"a stored block", of(gzMember{packed: stored}), true},
		{"a stored block with another length", of(gzMember{packed: append([]byte{1, stored[1] ^ 1}, stored[2:]...)}), false},
		{"fixed codes", of(gzMember{packed: deflated(tb, data, flate.HuffmanOnly)}), true},
		{"the best codes", of(gzMember{packed: deflated(tb, data, 9)}), true},
		{"a block of no kind", of(gzMember{packed: []byte{7}}), false},
		{"no last block", of(gzMember{packed: append([]byte{0}, stored[1:]...)}), false},
		{"bits behind the last block", gzMember{packed: []byte{3, 0xfc}}.bytes(), true},
		{"a copy from before the beginning", of(gzMember{packed: []byte{0x03, 0x02, 0x00}}), false},
		{"zlib", append([]byte{0x78, 0x9c}, packed...), false},
		{"nothing around it", packed, false},
	}
}

// TestGzipOddities takes of gzip exactly what containerd v2.4 takes, with which BuildKit unpacks layers: its decoder is
// klauspost's. Before it was Go's, which takes two of these otherwise.
func TestGzipOddities(t *testing.T) {
	t.Parallel()
	otherwise := map[string]bool{"reserved flags": true, "a header behind it, cut in a name": true}
	readers := map[string]func(raw io.Reader) (io.ReadCloser, error){
		"klauspost's": func(raw io.Reader) (io.ReadCloser, error) { return klauspost.NewReader(raw) },
		"Go's":        func(raw io.Reader) (io.ReadCloser, error) { return stdlib.NewReader(raw) },
	}
	for _, odd := range oddities(t) {
		got, err := decode(bytes.NewReader(odd.raw), buildcache.Gzip)
		var bad *compress.DecodeError
		if (err == nil) != odd.ok || err != nil && !errors.As(err, &bad) {
			t.Errorf("%s: %v", odd.name, err)
		}
		tar, _, tarErr := decodeTar(bytes.NewReader(odd.raw), compress.Encoding{Compression: buildcache.Gzip})
		if (tarErr == nil) != odd.ok || odd.ok && !bytes.Equal(tar, got) {
			t.Errorf("%s: as a tar %d bytes of %d, %v", odd.name, len(tar), len(got), tarErr)
		}
		for whose, open := range readers {
			var want []byte
			r, err := open(bytes.NewReader(odd.raw))
			if err == nil {
				want, err = io.ReadAll(r)
			}
			ok := odd.ok != (otherwise[odd.name] && whose == "Go's")
			if (err == nil) != ok || odd.ok && !bytes.Equal(want, got) {
				t.Errorf("%s: %s reader gives %d bytes, we %d; %v", odd.name, whose, len(want), len(got), err)
			}
		}
	}
}
