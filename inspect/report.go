package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// Report is what VerifyAll found.
type Report struct {
	Caches   int                  `json:"caches"` // how many were verified
	Others   int                  `json:"others"` // how many entries are not caches
	Problems []buildcache.Problem `json:"problems"`
	// Unread are tags for which the place does not give everything that has to be looked at, so that nobody knows whether they
	// are whole.
	Unread []Unread `json:"unread,omitempty"`
	// Unnamed are the whole caches of a layout that no entry leads to, such as conversions leave behind. They are not a problem, but
	// gc removes them.
	Unnamed []layout.UnnamedCache `json:"unnamed,omitempty"`
}

// Unread is a tag that could not be looked at, and why.
type Unread struct {
	Tag   string `json:"tag"`
	Error string `json:"error"`
	Err   error  `json:"-"`
}

// UnreadOf returns why the entry of a place could not be looked at.
func UnreadOf(ctx context.Context, src layout.Source, entry layout.Entry) Unread {
	err := entry.Check(ctx, src)
	return Unread{entry.Tag, err.Error(), err}
}

// RemedyInterrupted is what helps if caches are unnamed and incomplete: as tags come last, this is the state in which an
// interrupted command or export leaves them. Repairing them would drop what is still to come.
const RemedyInterrupted = RemedyAgain + ", and nothing is lost; repair shows what would be lost without the missing blobs"

// RemedyAgain is what helps if a command was interrupted before it wrote a root.
const RemedyAgain = "if a command was interrupted there (unpack, copy, convert, sync or a build's export), run it again: it continues"

// RemedyLost is what helps if a layout has no cache, and no index.json that says what its blobs are of. gc removes nothing then, and
// repair finds nothing to name.
const RemedyLost = RemedyAgain + "; otherwise delete the directory, as nothing names what is in it"

// remedyOfUnneeded is what helps if a damaged blob is needed by nothing.
const remedyOfUnneeded = "no tag needs it: gc removes it after a day, or at once with --keep-since 0s; until then, exports leave it as it is"

// remedyInTheWay is what helps if something other than a file is called index.json.
const remedyInTheWay = "move it away; after that, repair writes a new index.json from the caches found there"

// VerifyAll verifies every cache of a place, its index.json, and what the images beside them name. In a layout directory it also
// verifies the rest: blobs that no tag reaches, damage to blobs that no cache needs, and leftovers. With an error, the report has
// what was found all the same. It is an error if no cache could be read to its end, and nothing was found.
func VerifyAll(ctx context.Context, src layout.Source, o Options) (Report, error) {
	report, err := verifyAll(ctx, src, o)
	if err == nil && report.Caches == 0 && len(report.Unread) > 0 && len(report.Problems) == 0 {
		err = report.Unread[0].Err
	}
	return report, err
}

func verifyAll(ctx context.Context, src layout.Source, o Options) (Report, error) {
	report := Report{Problems: []buildcache.Problem{}}
	entries, err := layout.LenientSurvey(ctx, src)
	var broken *layout.IndexError
	if errors.As(err, &broken) {
		p := buildcache.NewProblem(buildcache.IndexInvalid, "index.json", broken.Err.Error())
		if broken.InTheWay() {
			p.Remedy = remedyInTheWay
		}
		report.Problems = append(report.Problems, p)
		return report, report.addSalvaged(ctx, newBlobReader(src, o), o)
	}
	if err != nil {
		return report, err
	}
	done := map[digest.Digest]bool{}
	o.announceAll(entries)
	blobs := newBlobReader(src, o)
	if err := report.verifyEach(ctx, blobs, entries, done, o); err != nil {
		return report, err
	}
	if !o.CachesOnly {
		problems, err := verifyImages(ctx, src, entries, done, o)
		report.Problems = append(report.Problems, problems...)
		if err != nil {
			return report, err
		}
	}
	if indexed, ok := src.(layout.Indexed); ok {
		problems, err := checkIndex(ctx, indexed, entries)
		report.Problems = append(report.Problems, problems...)
		if err != nil {
			return report, err
		}
	}
	dir, ok := src.(*layout.Dir)
	if !ok {
		return report, nil
	}
	beside, err := verifyBeside(ctx, dir, entries, done, o)
	report.Problems = append(report.Problems, beside...)
	if err != nil {
		return report, err
	}
	return report, report.addUnnamed(ctx, dir, blobs, len(entries) == 0)
}

// verifyEach verifies the caches among entries. It goes on after a cache that can't be read to its end.
func (r *Report) verifyEach(ctx context.Context, blobs *blobReader, entries []layout.Entry, done map[digest.Digest]bool, o Options) error {
	src, shadowed := blobs.src, shadowedIn(entries)
	byRoot := map[digest.Digest][]buildcache.Problem{}
	for i, f := range entries {
		if f.Kind.IsImage() {
			r.Others++
			continue
		}
		if f.IsUnread() {
			r.Unread = append(r.Unread, UnreadOf(ctx, src, f))
			continue
		}
		problems, ok := byRoot[f.Descriptor.Digest]
		if !ok {
			var err error
			problems, err = verifyPart(ctx, blobs, f, o)
			if err != nil {
				r.Problems = append(r.Problems, taggedAs(problems, f.Tag)...)
				if !isAboutOne(ctx, src, err) {
					return err
				}
				err = fmt.Errorf("tag %q: %w", f.Tag, err)
				r.Unread = append(r.Unread, Unread{f.Tag, err.Error(), err})
				markVerified(ctx, src, f, done) // what can't be read of it was tried
				continue
			}
			byRoot[f.Descriptor.Digest] = problems
			markVerified(ctx, src, f, done)
		}
		r.Caches++
		problems = taggedAs(problems, f.Tag)
		if shadowed[i] {
			soften(problems)
		}
		r.Problems = append(r.Problems, problems...)
	}
	return nil
}

// isAboutOne reports whether other caches may be readable although this one is not.
func isAboutOne(ctx context.Context, src layout.Source, err error) bool {
	_, lenient := src.(layout.Lenient)
	return isAboutBlob(ctx, err) || lenient && ctx.Err() == nil
}

// addSalvaged adds what is in a layout whose index.json can't be read, other than the entries that can be salvaged from it.
func (r *Report) addSalvaged(ctx context.Context, blobs *blobReader, o Options) error {
	dir, ok := blobs.src.(*layout.Dir)
	if !ok {
		return nil
	}
	salvaged, err := dir.SalvageIndex(ctx)
	if errors.Is(err, layout.ErrIndexReadable) { // it has become readable
		return nil
	}
	var broken *layout.IndexError
	blocked := errors.As(err, &broken) && broken.InTheWay() // there is nothing to salvage
	if err != nil && !blocked {
		return err
	}
	damaged, err := checkOthers(ctx, dir, nil, o)
	r.Problems = append(r.Problems, damaged...)
	if err != nil || blocked {
		return err
	}
	return r.addUnnamed(ctx, dir.Assume(salvaged.Index), blobs, false)
}

// addUnnamed adds the caches that no entry leads to. nameless says that there are no entries at all: then they were lost.
func (r *Report) addUnnamed(ctx context.Context, dir *layout.Dir, blobs *blobReader, nameless bool) error {
	caches, err := dir.UnnamedCaches(ctx)
	if err != nil {
		return err
	}
	for _, cache := range caches {
		whole, err := r.isWhole(ctx, blobs, cache)
		if err != nil {
			return err
		}
		if whole {
			r.Unnamed = append(r.Unnamed, cache)
		}
	}
	switch {
	case nameless && len(caches) == 0:
		return r.remedyWork(ctx, dir)
	case !nameless:
		return nil
	}
	fault := layout.IndexNameless
	if salvaged, err := dir.SalvageIndex(ctx); err == nil {
		fault = salvaged.Fault
	}
	p := buildcache.NewProblem(buildcache.IndexInvalid, "index.json", fmt.Sprintf("%s, but there are cache roots: %d", fault, len(caches)))
	if layout.ArePartial(caches) {
		p.Detail += ", with blobs missing"
		p.Remedy = RemedyInterrupted
	}
	r.Problems = slices.Insert(r.Problems, 0, p.On(caches[0].Digest))
	// Nothing must be removed before it is named.
	r.Problems = slices.DeleteFunc(r.Problems, func(p buildcache.Problem) bool { return p.Kind == buildcache.Unreachable })
	return nil
}

// remedyWork sets the remedy of blobs and leftovers in a place without any root. They are probably still wanted: roots and tags are
// written last, or the root is what is damaged. gc removes them otherwise, unless index.json is lost.
func (r *Report) remedyWork(ctx context.Context, dir *layout.Dir) error {
	if slices.ContainsFunc(r.Problems, func(p buildcache.Problem) bool { return p.Kind == buildcache.BlobDamaged }) {
		return nil
	}
	remedy := RemedyAgain + "; otherwise gc removes them"
	_, err := dir.GC(ctx, layout.GCOptions{DryRun: true})
	var incomplete *layout.IncompleteError
	if errors.As(err, &incomplete) && incomplete.Lost {
		remedy = RemedyLost
	}
	for i := range r.Problems {
		if p := &r.Problems[i]; p.Kind == buildcache.Unreachable || p.Kind == buildcache.Leftover {
			p.Remedy = remedy
		}
	}
	return context.Cause(ctx) // other errors are gc's to report
}

// isWhole reports whether a cache is whole, by what was found when all blobs were hashed. It hashes blobs whose size differs
// from what some root says, as those may not have been. If blobs are unpacked, its layers are, too: one that is damaged must not be
// recommended.
func (r *Report) isWhole(ctx context.Context, blobs *blobReader, cache layout.UnnamedCache) (bool, error) {
	found := func(kind buildcache.Kind, blob digest.Digest) bool {
		return slices.ContainsFunc(r.Problems, func(p buildcache.Problem) bool { return p.Kind == kind && p.Digest == blob })
	}
	deep := blobs.decoder != nil
	v := &verifier{blobs: blobs, options: Options{Deep: deep}}
	for _, layer := range cache.Layers() {
		switch {
		case found(buildcache.BlobDamaged, layer.Digest):
			return false, nil
		case cache.Whole && deep, found(buildcache.BlobSize, layer.Digest):
			problems, err := v.checkBlob(ctx, layer, "", true)
			if err != nil || buildcache.HasErrors(problems) {
				return false, err
			}
		}
	}
	return cache.Whole, nil
}

// verifyPart verifies one of the caches that announceAll has announced.
func verifyPart(ctx context.Context, blobs *blobReader, entry layout.Entry, o Options) ([]buildcache.Problem, error) {
	var end func()
	o.OnEvent, end = o.OnEvent.Part(planned(entry))
	defer end()
	v := &verifier{blobs: blobs, entry: entry, options: o}
	err := v.run(ctx)
	return v.problems, err
}

// VerifyTag verifies the one cache with a tag, and nothing else. It reports a tag that names nothing as a problem; a tag
// that is not there is a *layout.NotFoundError.
func VerifyTag(ctx context.Context, src layout.Source, tag string, o Options) (Report, error) {
	found, err := layout.Find(ctx, src, tag)
	if err != nil {
		return Report{}, err
	}
	if found == nil || found.Kind.IsImage() {
		_, err := layout.OneCache(ctx, src, tag)
		var dangling *layout.DanglingError
		if errors.As(err, &dangling) && dangling.Root == "" {
			return VerifyOne(ctx, src, layout.Entry{Tag: tag, Kind: layout.KindDangling, Err: dangling.Err}, o)
		}
		return Report{}, err
	}
	return VerifyOne(ctx, src, *found, o)
}

// VerifyOne verifies the one cache of an entry, and nothing else.
func VerifyOne(ctx context.Context, src layout.Source, entry layout.Entry, o Options) (Report, error) {
	report := Report{Problems: []buildcache.Problem{}}
	problems, err := Verify(ctx, src, entry, o)
	report.Problems = append(report.Problems, problems...)
	if err == nil {
		report.Caches = 1
	}
	return report, err
}

// markVerified records the blobs that Verify has hashed.
func markVerified(ctx context.Context, src layout.Source, f layout.Entry, done map[digest.Digest]bool) {
	raw, err := layout.ReadUnverified(ctx, src, f.Descriptor, buildcache.MaxRoot)
	var size *buildcache.SizeError
	if err != nil && !errors.As(err, &size) { // a root that is too large was reported, however long it is
		return
	}
	done[f.Descriptor.Digest] = true
	root, err := buildcache.ParseRoot(raw)
	if err != nil {
		return
	}
	done[root.Config.Digest] = true
	for _, layer := range root.Layers {
		done[layer.Digest] = true
	}
}

func verifyBeside(
	ctx context.Context, dir *layout.Dir, entries []layout.Entry, done map[digest.Digest]bool, o Options,
) ([]buildcache.Problem, error) {
	problems, err := checkOthers(ctx, dir, done, o)
	if err != nil {
		return problems, err
	}
	unreached, err := Unreachable(ctx, dir)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		// An image that is not whole, or a root that can't be read as anything.
		p := buildcache.NewProblem(buildcache.Unreachable, "blobs", "can't tell which blobs are needed: "+err.Error())
		p.Remedy = "repair what is damaged first" // nothing may be deleted until it is known what is needed
		problems = append(problems, p)
	case len(unreached.Blobs) > 0:
		detail := fmt.Sprintf("%s with %s that no tag reaches", english.Plural(len(unreached.Blobs), "blob", ""), humanize.Bytes(uint64(unreached.Bytes)))
		remedyUnneeded(problems, unreached.Blobs, len(entries) > 0)
		problems = append(problems, buildcache.NewProblem(buildcache.Unreachable, "blobs", detail))
	}
	leftovers, err := dir.Leftovers()
	for _, name := range leftovers {
		problems = append(problems, buildcache.NewProblem(buildcache.Leftover, name, ""))
	}
	return problems, err
}

// remedyUnneeded sets the remedy of damaged blobs that no tag needs, if there are tags that would need them.
func remedyUnneeded(problems []buildcache.Problem, unreached []digest.Digest, tags bool) {
	is := map[digest.Digest]bool{}
	for _, blob := range unreached {
		is[blob] = true
	}
	for i := range problems {
		if p := &problems[i]; tags && p.Kind == buildcache.BlobDamaged && is[p.Digest] {
			p.Remedy = remedyOfUnneeded
		}
	}
}

func checkIndex(ctx context.Context, src layout.Indexed, entries []layout.Entry) ([]buildcache.Problem, error) {
	index, err := src.Index(ctx)
	if err != nil {
		return nil, err
	}
	caches := map[digest.Digest]bool{}
	for _, f := range entries {
		caches[f.Descriptor.Digest] = f.Kind == layout.KindCache
	}
	return index.Check(caches), nil
}

// checkOthers hashes the blobs that are not in skip. A damaged one is an error even if nothing reaches it: the next export with
// this blob will find it there and leave it as it is. It goes on after a blob that can't be read to its end, and fails then.
func checkOthers(ctx context.Context, dir *layout.Dir, skip map[digest.Digest]bool, o Options) ([]buildcache.Problem, error) {
	blobs, err := dir.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	blobs = slices.DeleteFunc(blobs, func(b buildcache.Descriptor) bool { return skip[b.Digest] })
	o.announce(blobs)
	found, broken := make([]*buildcache.Problem, len(blobs)), make([]error, len(blobs))
	group, ctx := parallel.New(ctx, o.jobs())
	for i, blob := range blobs {
		group.Go(func() error {
			err := o.OnEvent.Track("verify", blob.Digest, blob.Size, func(done func(int64)) error {
				read, err := readBlob(ctx, dir, blob, nil, done)
				if err != nil || read.digest == blob.Digest {
					return err
				}
				p := buildcache.NewProblem(buildcache.BlobDamaged, "blobs", otherBytes(read.digest, read.size)).On(blob.Digest)
				found[i] = &p
				return nil
			})
			if isAboutBlob(ctx, err) {
				broken[i], err = err, nil
			}
			return err
		})
	}
	err = group.Wait()
	if err == nil {
		err = errors.Join(broken...)
	}
	var problems []buildcache.Problem
	for _, p := range found {
		if p != nil {
			problems = append(problems, *p)
		}
	}
	return problems, err
}
