package archive

import (
	"cmp"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// selectEntries returns the entries to unpack, each under the tag that it gets, and notes on what is skipped.
func selectEntries(archive string, entries []layout.Entry, o UnpackOptions) (selected []layout.Entry, notes []string, err error) {
	entries, notes = nameUntagged(entries, o)
	seen := map[string]digest.Digest{}
	var tags []string
	for _, entry := range entries {
		if err := layout.CheckTag(entry.Tag); err != nil {
			return nil, nil, &HostileError{Archive: archive, Entry: indexName, Err: err}
		}
		if first, ok := seen[entry.Tag]; ok {
			if first != entry.Descriptor.Digest {
				notes = append(notes, fmt.Sprintf("skipped because another root also has the tag %q: %s", entry.Tag, entry.Descriptor.Digest))
			}
			continue
		}
		seen[entry.Tag] = entry.Descriptor.Digest
		tags = append(tags, entry.Tag)
		if o.Tags == nil || o.Tags(entry.Tag) {
			selected = append(selected, entry)
		}
	}
	if len(selected) == 0 {
		return nil, nil, &layout.NotFoundError{Place: archive, Tag: o.Tag, Tags: tags}
	}
	return selected, notes, nil
}

// nameUntagged gives a tag to the only entry that has none: skopeo and others write such an entry when they are given no
// name. If several have none they can't be told apart, and are left out; so is a single one if the tag is taken.
func nameUntagged(entries []layout.Entry, o UnpackOptions) (tagged []layout.Entry, notes []string) {
	name, free := cmp.Or(o.Tag, layout.DefaultTag), true
	var untagged []layout.Entry
	for _, entry := range entries {
		if entry.Tag == "" {
			untagged = append(untagged, entry)
			continue
		}
		tagged = append(tagged, entry)
		free = free && entry.Tag != name
	}
	if len(untagged) == 1 && free {
		untagged[0].Tag = name
		note := fmt.Sprintf("%s has no tag in the archive; it gets the tag %q", untagged[0].Descriptor.Digest, name)
		return append(tagged, untagged[0]), []string{note}
	}
	for _, entry := range untagged {
		notes = append(notes, fmt.Sprintf("skipped because it has no tag: %s", entry.Descriptor.Digest))
	}
	return tagged, notes
}
