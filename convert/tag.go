package convert

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// TagResult says what Tag did.
type TagResult struct {
	Tag    string        `json:"tag"`
	Digest digest.Digest `json:"digest"`
	Was    digest.Digest `json:"was,omitempty"` // what the tag named before, if that was another root
	// Unchanged says that the tag already named this root.
	Unchanged bool `json:"unchanged,omitempty"`
}

// Tag gives a cache of a place another tag, in addition to those that it has. It fails with a *layout.TakenError if the tag
// belongs to an image.
func Tag(ctx context.Context, place layout.Place, entry layout.Entry, tag string) (result *TagResult, err error) {
	if locker, ok := place.(layout.Locker); ok {
		unlock, lockErr := locker.Lock(ctx)
		if lockErr != nil {
			return nil, lockErr
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	result, err = PlanTag(ctx, place, entry, tag)
	if err != nil || result.Unchanged {
		return result, err
	}
	if err := place.Tag(ctx, tag, entry.Descriptor, result.Was); err != nil {
		return nil, fmt.Errorf("move the tag %q: %w", tag, err)
	}
	return result, nil
}

// PlanTag says what Tag would do, fails where it would, and changes nothing.
func PlanTag(ctx context.Context, place layout.Place, entry layout.Entry, tag string) (*TagResult, error) {
	root := entry.Descriptor
	was, err := target(ctx, nil, layout.Entry{}, place, tag, nil)
	if err != nil {
		return nil, err
	}
	result := &TagResult{Tag: tag, Digest: root.Digest}
	if was == root.Digest {
		result.Unchanged = true
		return result, nil
	}
	result.Was = was
	if has, err := place.Has(ctx, root); err != nil || !has {
		return nil, errors.Join(err, &layout.BlobError{Digest: root.Digest, Place: place.String(), Err: layout.ErrBlobMissing})
	}
	return result, nil
}

// Untagged is what became of an entry whose tag was to be deleted.
type Untagged struct {
	Tag    string        `json:"tag,omitempty"`
	Digest digest.Digest `json:"digest"`
	// Deleted says that it was deleted; in a plan, that it is to be.
	Deleted bool `json:"deleted"`
	// Sharing are other tags that name the same root, and stay. A registry that deletes only by digest keeps the tag because of them.
	Sharing []string `json:"sharing,omitempty"`
	// Kept says that nothing failed, but that the tag can't be deleted alone, or only through another interface. ByHand says how somebody
	// who has access can delete it there.
	Kept   bool   `json:"kept,omitempty"`
	ByHand string `json:"byHand,omitempty"`
	Error  string `json:"error,omitempty"`
	Err    error  `json:"-"`
}

// ErrNoUntag says that a place can't delete tags.
var ErrNoUntag = errors.New("tags can't be deleted there")

// PlanUntag says what Untag would be asked to do, and does nothing. It can't know whether a registry deletes at all. If some of all could
// not be read and might be deleted as well, nothing is deleted: then each has an error that wraps a *layout.SharedUnreadError.
func PlanUntag(place layout.Source, entries, all []layout.Entry) ([]Untagged, error) {
	if _, ok := place.(layout.Untagger); !ok {
		return nil, fmt.Errorf("%s: %w", place, ErrNoUntag)
	}
	goes := map[string]bool{}
	for _, entry := range entries {
		goes[entry.Tag] = true
	}
	stay := map[digest.Digest][]string{}
	for _, other := range all {
		root := other.Descriptor.Digest
		if other.Tag != "" && !goes[other.Tag] && !slices.Contains(stay[root], other.Tag) {
			stay[root] = append(stay[root], other.Tag)
		}
	}
	unread := unreadIn(place, all)
	results := make([]Untagged, len(entries))
	for i, entry := range entries {
		root := entry.Descriptor.Digest
		results[i] = Untagged{Tag: entry.Tag, Digest: root, Deleted: unread == nil, Sharing: stay[root]}
		if unread != nil {
			results[i].Err = &layout.KeptError{Place: place.String(), Tag: entry.Tag, Root: root, Err: unread}
			results[i].Error = results[i].Err.Error()
		}
	}
	return results, nil
}

// unreadIn returns a *layout.SharedUnreadError with the tags that can't be read in the place, nil for none.
func unreadIn(place layout.Source, all []layout.Entry) error {
	if _, ok := place.(layout.Lenient); !ok {
		return nil
	}
	var tags []string
	for _, entry := range all {
		if entry.IsUnread() {
			tags = append(tags, entry.Tag)
		}
	}
	if len(tags) == 0 {
		return nil
	}
	return &layout.SharedUnreadError{Tags: tags}
}

// Untag deletes the tags of entries of a place, and never another one. all are the entries of the place. Blobs stay. It continues
// after one that fails; an error means that it could not even begin, or was interrupted.
func Untag(ctx context.Context, place layout.Source, entries, all []layout.Entry) (results []Untagged, err error) {
	plan, err := PlanUntag(place, entries, all)
	if err != nil {
		return nil, err
	}
	if locker, ok := place.(layout.Locker); ok {
		unlock, lockErr := locker.Lock(ctx)
		if lockErr != nil {
			return nil, lockErr
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	untagger, _ := place.(layout.Untagger) // which PlanUntag has checked
	results = []Untagged{}
	for _, done := range plan {
		if err := context.Cause(ctx); err != nil {
			return results, err
		}
		if done.Err != nil { // the plan says why not
			results = append(results, done)
			continue
		}
		err := untagger.Untag(ctx, done.Tag, done.Digest, done.Sharing)
		if cause := context.Cause(ctx); cause != nil && err != nil {
			return results, cause
		}
		var kept *layout.KeptError
		if errors.As(err, &kept) {
			done.ByHand, done.Kept = kept.ByHand, len(kept.Sharing) > 0 || kept.ByHand != ""
		}
		if err != nil {
			var gone *layout.DeletedError
			done.Err, done.Error, done.Deleted = err, err.Error(), errors.As(err, &gone)
		}
		results = append(results, done)
	}
	return results, nil
}
