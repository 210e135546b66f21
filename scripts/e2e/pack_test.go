//go:build e2e

package e2e

import (
	"bytes"
	gzipper "compress/gzip"
	"encoding/binary"
	"io"
	"slices"
	"testing"
)

// pack makes a blob of a tar.
type pack func(t *testing.T, tar []byte) []byte

func unpacked(_ *testing.T, tar []byte) []byte { return tar }

func gzipped(t *testing.T, tar []byte) []byte {
	t.Helper()
	return gzipMember(t, "", tar)
}

// namedGzip has other bytes than what anybody else packs.
func namedGzip(t *testing.T, tar []byte) []byte {
	t.Helper()
	return gzipMember(t, "layer.tar", tar)
}

func twoGzipMembers(t *testing.T, tar []byte) []byte {
	t.Helper()
	return append(gzipped(t, tar[:512]), gzipped(t, tar[512:])...)
}

func gzipMember(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzipper.NewWriter(&out)
	w.Name = name
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gunzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := gzipper.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return data
}

// zstdWindow packs in a frame that wants a window of 2^log bytes.
func zstdWindow(log int) pack {
	return func(_ *testing.T, tar []byte) []byte { return zstdFrame(log, tar) }
}

// zstdFrame does not compress: its blocks are raw (RFC 8878, 3.1.1).
func zstdFrame(windowLog int, data []byte) []byte {
	const maxBlock = 128 << 10
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte((windowLog - 10) << 3)}
	for block := range slices.Chunk(data, maxBlock) {
		frame = append(frame, blockHeader(len(block), 0)...)
		frame = append(frame, block...)
	}
	return append(frame, blockHeader(0, 1)...)
}

func blockHeader(size, last int) []byte {
	return binary.LittleEndian.AppendUint32(nil, uint32(size<<3|last))[:3]
}

// betweenSkippable puts zstd frames around data that hold none (RFC 8878,
// 3.1.2).
func betweenSkippable(t *testing.T, tar []byte) []byte {
	t.Helper()
	skippable := []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip")
	return slices.Concat(skippable, zstdFrame(20, tar), skippable)
}

// behind adds what does not belong there.
func behind(p pack, garbage string) pack {
	return func(t *testing.T, tar []byte) []byte {
		t.Helper()
		return append(p(t, tar), garbage...)
	}
}

// cut leaves out the end.
func cut(p pack) pack {
	return func(t *testing.T, tar []byte) []byte {
		t.Helper()
		return truncated(p(t, tar))
	}
}

// These change bytes.

func truncated(data []byte) []byte { return data[:len(data)-9] }

func lengthened(data []byte) []byte { return append(data, ' ') }

func flipped(data []byte) []byte {
	data[len(data)/2] ^= 0x10
	return data
}
