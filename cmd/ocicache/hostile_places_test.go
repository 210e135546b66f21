package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/registrytest"
)

// manyTags makes an archive with 2000 tags for one root of 1000 layers, of which there is only the first.
func manyTags(left int) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		layers := make([][]byte, 1000)
		for i := range layers {
			layers[i] = fmt.Appendf(nil, "layer %d", i)
		}
		config := configOf(layers...)
		root := artifactOf(config, layers...)
		tags := make([]string, 2000)
		for i := range tags {
			tags[i] = fmt.Sprintf("tag-%d", i)
		}
		files := []tarFile{{"index.json", indexOf(root, tags...)}, blobFile(root), blobFile(config)}
		for _, layer := range layers[left:] {
			files = append(files, blobFile(layer))
		}
		write("a.tar", tarWith(t, files...))(t, dir)
	}
}

// largeWindow is a frame of zstd that asks for a window of 512 MiB for one byte, x times over.
func largeWindow(times int) []byte {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, (29 - 10) << 3, 1 | 1<<3, 0, 0, 'x'}
	return bytes.Repeat(frame, times)
}

// wantsDictionary is a frame of zstd for a dictionary that nobody has.
func wantsDictionary() []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x23}, 7), 0, 1, 0, 0)
}

// hostileLayers are layers that take more than they should, and archives.
func hostileLayers() []hostileCase {
	bomb := func(t *testing.T, dir string) {
		t.Helper()
		layer := bytes.Repeat(zstdOf(t, make([]byte, 64<<20)), 4)
		config := configOf(layer)
		layoutOf(artifactOf(config, layer), config, layer)(t, dir)
	}
	stream := func(t *testing.T, dir string) {
		t.Helper()
		head := tarWith(t, tarFile{"index.json", someIndex})
		head = head[:len(head)-1024]
		entry := tarWith(t, tarFile{"ingest/zeros", nil})[:512]
		copy(entry[124:], "\x80\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00") // a tebibyte
		copy(entry[148:], "        ")
		sum := 0
		for _, b := range entry {
			sum += int(b)
		}
		copy(entry[148:], fmt.Sprintf("%06o\x00 ", sum))
		data := zstdOf(t, append(head, entry...))
		write("a.tar.zst", append(data, bytes.Repeat(zstdOf(t, make([]byte, 64<<20)), 40)...))(t, dir)
	}
	layers := [][]byte{largeWindow(1), largeWindow(2), largeWindow(3), wantsDictionary()}
	return []hostileCase{
		{name: "2000 tags", make: manyTags(0), args: []string{"unpack", "a.tar", "dst", "--dry-run", "--json"}, status: exitDone, says: "tag-1999", alike: true},
		{name: "2000 tags of what is not there", make: manyTags(990), args: []string{"unpack", "a.tar", "dst", "--dry-run"}, status: exitNotFound, says: "990 blobs .*not in it:\n.* and 1990 more"},
		{name: "2000 tags, inspected", make: manyTags(0), args: []string{"inspect", "oci-archive:a.tar:tag-7"}, status: exitDone, says: "tag-7", alike: true},
		{name: "layer of zeros", make: bomb, args: []string{"verify", "cache", "--deep"}, status: exitFound, says: "layer-diffid"},
		{
			name: "large windows", make: layoutOf(artifactOf(configOf(layers...), layers...), append(layers, configOf(layers...))...),
			args: []string{"verify", "cache", "--deep", "--jobs", "4"}, status: exitFound, says: "layer-unreadable", memory: 600, space: 3200 << 20, // of which 1700 are nobody's; where a freed window was cut up, the next one gets other addresses
		},
		{name: "stream of zeros", make: stream, args: []string{"unpack", "-", "dst"}, stdin: "a.tar.zst", status: exitFailed, says: "unpacks to more|too large|more than"},
	}
}

// linked is a copy of a cache in which a name is a link to a directory of somebody else's.
func linked(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		copied(t, dir)
		path, theirs := filepath.Join(dir, "cache", name), filepath.Join(dir, "theirs")
		write("theirs/file", []byte("file"))(t, dir)
		write("theirs/journal", []byte("journal"))(t, dir)
		write("theirs/tmp-1", []byte("temporary"))(t, dir)
		if _, err := os.Lstat(path); err == nil && name != "cache.lock" { // with what is in it
			if err := os.CopyFS(theirs, os.DirFS(path)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		target := "../theirs"
		if name == "cache.lock" {
			target = "../theirs/file"
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		for range strings.Count(name, "/") {
			target = "../" + target
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
}

// hostileLinks are names in a layout that lead out of it. Nothing is written there, or given away.
func hostileLinks() []hostileCase {
	var cases []hostileCase
	for _, name := range []string{".ocicache", "blobs", "blobs/sha256", "cache.lock"} {
		cases = append(cases, hostileCase{
			name: name + " is a link", make: linked(name), outside: []string{"theirs"},
			args: []string{"convert", "cache", "--compression", "zstd"}, status: exitFailed, says: "symbolic link",
		})
	}
	return cases
}

// answering is a registry that answers everything in one way, but for the first question.
func answering(answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		answer(w, r)
	})
}

// hostileRegistries are registries that lie, tell secrets, or come to no end.
func hostileRegistries(t *testing.T) []hostileCase {
	t.Helper()
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	endless := func(before string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			text := []byte(before)
			for err := error(nil); err == nil; text = bytes.Repeat([]byte("x"), 1<<20) {
				_, err = w.Write(text)
			}
		}
	}
	manifest := func(status int, raw []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", buildcache.MediaTypeOCIManifest)
			w.WriteHeader(status)
			_, _ = w.Write(raw)
		}
	}
	config := configOf([]byte("layer"))
	root := artifactOf(config, []byte("layer"))
	lying := func(blob http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				blob(w, r)
				return
			}
			manifest(http.StatusOK, root)(w, r)
		}
	}
	var cases []hostileCase
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		status int
		says   string
	}{
		{"no answer", hang, exitFailed, "the registry is silent"},
		{"an answer that stops", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"schemaVersion"`))
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		}, exitFailed, "the registry is silent"},
		{"429 for ever", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		}, exitFailed, "(?i)too many requests"},
		{"redirects in a circle", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, exitFailed, "redirects"},
		{"control characters", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"\u001b[2Jevil\u202e\u0007%s"}]}`, strings.Repeat("long ", 5000))
		}, exitFailed, `\\x1b\[2Jevil`},
		{"a manifest without end", endless(`{"schemaVersion":2,"mediaType":"`), exitFailed, "(?i)exceeded|too large|limit"},
		{"a config without end", lying(endless("{")), exitFailed, "bytes|size"},
		{"another config", lying(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte(" "), len(config)))
		}), exitFailed, digest.FromBytes(config).Encoded()},
		{"a cut config", lying(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(config[:9]) }), exitFailed, "EOF|bytes"},
	} {
		server := registrytest.Serve(t, answering(c.answer))
		idle := time.Minute // on a busy machine everybody may be silent for a second
		if strings.Contains(c.says, "silent") {
			idle = time.Second
		}
		cases = append(cases, hostileCase{
			name: "registry: " + c.name, status: c.status, says: c.says, args: []string{
				"copy", "docker://" + server.Host + "/cache:latest", "oci:dst", "--tls-verify=false", "--retry", "0",
				"--idle-timeout", idle.String(), "--progress", "none",
			},
		})
	}
	return cases
}
