package layout

import (
	"bytes"
	"encoding/json"
	"regexp"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
)

// salvage reads what it can of a damaged index.json. It fails if the result could not be written and read again.
func salvage(raw []byte) (*Salvaged, error) {
	if len(raw) > buildcache.MaxIndex { // only a part of it was read
		return nil, &buildcache.SizeError{What: "index.json", Size: int64(len(raw)), Limit: buildcache.MaxIndex}
	}
	index, torn, changed := buildcache.SalvageIndex(raw)
	if err := checkWritten(index); err != nil {
		return nil, err
	}
	return &Salvaged{Index: index, Torn: tornEntries(torn), Changed: changed, Fault: IndexUnreadable, raw: raw}, nil
}

// checkWritten fails if an index could not be read again once written.
func checkWritten(index *buildcache.Index) error {
	data, err := json.Marshal(index)
	if err == nil {
		_, err = buildcache.ParseIndex(data)
	}
	return err
}

// The patterns to find in the text of torn entries.
var (
	entryStart  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{\s*"(?:mediaType|digest)"\s*:`) })
	entryDigest = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`"digest"\s*:\s*"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})"`)
	})
	entryTag = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`"org\.opencontainers\.image\.ref\.name"\s*:\s*"([^"\\]*)"`)
	})
)

// tornEntries reads what it can from a torn part of a list of entries. A piece that isn't a whole entry and has several
// digests or several tags is skipped: its entries can't be told apart.
func tornEntries(text []byte) (torn []buildcache.Descriptor) {
	starts := []int{0}
	for _, at := range entryStart().FindAllIndex(text, -1) {
		starts = append(starts, at[0])
	}
	for i, start := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		if entry, ok := wholeEntry(text[start:end]); ok {
			torn = append(torn, entry)
			continue
		}
		digests, tags := entryDigest().FindAllSubmatch(text[start:end], -1), entryTag().FindAllSubmatch(text[start:end], -1)
		if len(digests) != 1 || len(tags) > 1 {
			continue
		}
		entry := buildcache.Descriptor{Digest: digest.Digest(digests[0][1])}
		if len(tags) == 1 && CheckTag(string(tags[0][1])) == nil {
			entry.Annotations = map[string]string{ocispec.AnnotationRefName: string(tags[0][1])}
		}
		torn = append(torn, entry)
	}
	return torn
}

// wholeEntry reads the entry at the start of a text, if all of it is there.
func wholeEntry(text []byte) (entry buildcache.Descriptor, ok bool) {
	var raw json.RawMessage
	if json.NewDecoder(bytes.NewReader(text)).Decode(&raw) != nil {
		return entry, false
	}
	entry, _, ok = buildcache.SalvageDescriptor(raw)
	return entry, ok
}
