package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// packFlags are the flags of pack.
type packFlags struct {
	tag, base  string
	images     bool
	have       []string
	volumeSize string
	parity     int
	overwrite  bool
	dryRun     bool
	change     *changeFlags // separate, because cobra keeps flags with completions for as long as the process lives
	registry   *registryFlags
}

func (a *app) packCommand() *cobra.Command {
	f := &packFlags{change: &changeFlags{}}
	cmd := &cobra.Command{
		Use:   "pack SRC... FILE|-",
		Short: "Pack caches into an archive that crosses an air gap",
		Long: `Pack caches into an archive, which is an OCI image layout in a tar file: every cache in SRC, unless --tag or the reference chooses
one. The same content gives the same bytes, and every blob is verified while packing. FILE gets its name
when it is complete. - is standard output; the result then goes to standard error.

FILE and its volumes must not exist yet, unless --overwrite allows replacing an older archive: FILE itself, or volumes if their list
proves that pack wrote them.

With --have, blobs that the far side already has are left out: REF is a receipt from there ('ocicache unpack --receipt'), an archive
that was unpacked there, or a layout or repository with the same content. The archive lists what it requires.

With --volume-size, the archive is split into FILE.001 and so on; 'cat FILE.0*' gives the whole archive, and 'sha256sum -c
FILE.SHA256SUMS' verifies the volumes. With --parity N, any N of the volumes can be lost; recovery volumes are larger than SIZE by the
length of their list, about 100 bytes per volume. In SIZE, KB is 1000 and KiB 1024.`,
		Example: `  ocicache pack ./cache cache.tar
  ocicache pack ./cache update.tar --have far-side.receipt
  ocicache pack ./cache docker://registry.example.com/team/cache /media/usb/caches --volume-size 4GB --parity 2
  ocicache pack ./cache - --compression zstd | ssh far ocicache unpack - ./cache`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runPack(cmd.Context(), f, args[:len(args)-1], args[len(args)-1])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.tag, "tag", "", "`TAG` of the cache in each SRC")
	flags.StringVar(&f.base, "base", "", baseUsage)
	flags.BoolVar(&f.images, "images", false, "also pack the images next to the caches")
	flags.StringArrayVar(&f.have, "have", nil, "leave out what `REF` has on the far side")
	flags.StringVar(&f.volumeSize, "volume-size", "", "split the archive into volumes of this `SIZE`")
	flags.IntVar(&f.parity, "parity", 0, "add `N` recovery volumes: any N volumes can be lost")
	addOverwrite(cmd, &f.overwrite, "replace an older archive of the same name")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be packed, and write nothing")
	f.change.add(cmd)
	f.registry = addRegistryFlags(cmd, src, dest)
	f.registry.call(map[side]string{src: "SRC's registry", dest: "--have's registry"})
	flags.VisitAll(func(flag *pflag.Flag) {
		flag.Usage = strings.ReplaceAll(flag.Usage, "DST's registry", "the registry of --have")
	})
	flags.Lookup("to").Usage = "`FORM` of the caches in the archive: docker-list, oci-index or artifact"
	return cmd
}

// packJob is what a command line of pack asks for.
type packJob struct {
	target  archive.Target
	options archive.PackOptions
	change  convert.Options
	changes bool
	roots   []archive.Chosen
	// passedOver is how many images next to the caches are not packed.
	passedOver int
	hidden     []string // notes on caches hidden by others
}

func (a *app) runPack(ctx context.Context, f *packFlags, sources []string, file string) error {
	refs := make([]layout.Reference, len(sources))
	for i, text := range sources {
		var err error
		if refs[i], err = parse(text, f.tag); err != nil {
			return err
		}
	}
	job, err := a.newPackJob(f, file)
	if err != nil {
		return err
	}
	if f.base != "" && !slices.ContainsFunc(refs, places.IsArchive) {
		return &usageError{errors.New("--base is only for archives, and no SRC is an archive")}
	}
	have, err := f.haveReferences()
	if err != nil {
		return err
	}
	if err := f.registry.check(append(have, refs...)...); err != nil {
		return err
	}
	if err := f.registry.checkSide(src, "SRC", baseOf(f.base, refs...)...); err != nil {
		return err
	}
	if err := f.registry.checkSide(dest, "--have", have...); err != nil {
		return err
	}
	if err := a.addRoots(ctx, job, f, refs); err != nil {
		return err
	}
	for _, ref := range have {
		holder, err := a.holder(ctx, ref, f.registry)
		if err != nil {
			return err
		}
		job.options.Have = append(job.options.Have, holder)
	}
	job.change.Jobs = a.jobsFor(refs...)
	handler, stop := a.show()
	job.options.OnEvent, job.change.OnEvent = handler, handler
	result, err := job.run(ctx)
	stop()
	if err != nil {
		return packUsage(err)
	}
	result.Notes = slices.Concat(job.hidden, result.Notes)
	if job.target.Stream == nil {
		return a.write(result, result.render)
	}
	return a.writeTo(a.stderr, result, result.render)
}

// addRoots opens the sources and adds what is to be packed from them.
func (a *app) addRoots(ctx context.Context, job *packJob, f *packFlags, refs []layout.Reference) error {
	for _, ref := range refs {
		base := ""
		if places.IsArchive(ref) {
			base = f.base
		}
		from, err := a.open(ctx, ref, base, f.registry.options(src))
		if err != nil {
			return err
		}
		entries, passed, err := packEntries(ctx, from, f.images)
		if err != nil {
			return err
		}
		job.passedOver += passed
		hidden, err := hiddenNotes(ctx, from, nil)
		if err != nil {
			return err
		}
		job.hidden = append(job.hidden, hidden...)
		for _, entry := range entries {
			job.roots = append(job.roots, archive.Chosen{Source: from.Source, Entry: entry})
		}
	}
	return nil
}

// packUsage marks errors that the command line causes.
func packUsage(err error) error {
	var conflict *archive.TagConflictError
	if errors.As(err, &conflict) || errors.Is(err, archive.ErrSplit) {
		return &usageError{err}
	}
	return err
}

// newPackJob reads everything except the references of sources.
func (a *app) newPackJob(f *packFlags, file string) (*packJob, error) {
	job := &packJob{options: archive.PackOptions{Parity: f.parity, Overwrite: f.overwrite, DryRun: f.dryRun, Layout: a.layoutOptions()}}
	var err error
	if job.target, err = a.packTarget(file); err != nil {
		return nil, err
	}
	if job.change, err = f.change.options(); err != nil {
		return nil, &usageError{err}
	}
	job.changes = f.change.to != "" || f.change.compression != ""
	switch {
	case f.change.to == auto:
		err = errors.New("--to auto needs a registry to go by; give the form that the far side needs")
	case f.parity < 0:
		err = fmt.Errorf("--parity %d: want 0 or more", f.parity)
	case f.volumeSize == "" && f.parity > 0:
		err = errors.New("--parity needs --volume-size")
	case f.overwrite && job.target.Stream != nil:
		err = errors.New("--overwrite is for files, not for standard output")
	case f.volumeSize != "" && job.target.Stream != nil:
		err = errors.New("--volume-size is for files, not for standard output")
	case f.volumeSize != "":
		if job.options.VolumeSize, err = convert.ParseSize(f.volumeSize); err != nil {
			err = fmt.Errorf("--volume-size: %w", err)
		}
	}
	if err != nil {
		return nil, &usageError{err}
	}
	return job, nil
}

// packTarget says where FILE is.
func (a *app) packTarget(text string) (archive.Target, error) {
	ref, err := layout.ParseReference(text)
	var spelling *layout.SpellingError
	if errors.As(err, &spelling) && strings.HasPrefix(spelling.Meant, "docker://") {
		return archive.Target{}, a.notFile(spelling.Text, spelling.Meant)
	}
	if err != nil {
		return archive.Target{}, &usageError{err}
	}
	switch {
	case ref.Transport == layout.TransportStream:
		if file, ok := a.stdout.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			return archive.Target{}, &usageError{errors.New("refusing to write the archive to the terminal; give a FILE, or pipe it somewhere")}
		}
		return archive.Target{Stream: a.stdout}, nil
	case ref.Transport != layout.TransportPath && ref.Transport != layout.TransportArchive:
		return archive.Target{}, a.notFile(text, text)
	case ref.Tag != "":
		return archive.Target{}, &usageError{fmt.Errorf("%s: FILE takes no tag; caches keep their tags in an archive", text)}
	}
	if err := checkNotOutput(ref.Path); err != nil {
		return archive.Target{}, err
	}
	if err := checkParent(ref.Path); err != nil {
		return archive.Target{}, err
	}
	if info, err := os.Stat(ref.Path); err == nil && info.IsDir() {
		return archive.Target{}, &usageError{fmt.Errorf("%s is a directory; the last argument is the FILE to write", ref.Path)}
	}
	return archive.Target{File: ref.Path}, nil
}

// notFile says that an archive can't be written to what was given as FILE, and which command copies caches to the place that was meant.
func (a *app) notFile(text, meant string) error {
	args := slices.Clone(a.running.Flags().Args())
	args[len(args)-1] = meant
	advice := mention(a.repeatedWith("sync", args)) + " sends caches there"
	return &usageError{&wordError{fmt.Errorf("%s is not a file name for an archive", text), advice}}
}

// checkNotOutput rejects the system's names for standard output: an archive is written next to its name and then renamed.
func checkNotOutput(file string) error {
	switch filepath.Clean(file) {
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return &usageError{&wordError{fmt.Errorf("%s: not a regular file; an archive is written next to its name, then renamed", file), "to write an archive to standard output, give - as FILE"}}
	}
	return nil
}

// checkParent fails if the directory of a file to be written does not exist.
func checkParent(file string) error {
	dir := filepath.Dir(file)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return &places.NotThereError{Path: dir}
	}
	return nil
}

// packEntries returns the entries of a place to pack: what the reference chooses, else every cache, and images if
// wanted; and how many images are skipped because they are not wanted.
func packEntries(ctx context.Context, from *places.Opened, images bool) (chosen []layout.Entry, passed int, err error) {
	entries, err := from.Entries(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, entry := range entries {
		switch {
		case entry.Kind == layout.KindCache, images && entry.Kind.IsImage():
			chosen = append(chosen, entry)
		case entry.Kind.IsImage():
			passed++
		case entry.Kind == layout.KindDangling, entry.Kind == layout.KindInvalid:
			return nil, 0, entry.Check(ctx, from.Source) // says what is wrong with it
		}
	}
	if len(chosen) == 0 {
		_, err := from.Cache(ctx) // says what is there instead
		if err == nil {
			err = fmt.Errorf("%s: a cache was added meanwhile; run it again", from.Source)
		}
		return nil, 0, err
	}
	// Caches come first, as they did before images could be packed.
	slices.SortStableFunc(chosen, func(a, b layout.Entry) int { return cmp.Compare(a.Kind, b.Kind) })
	return chosen, passed, nil
}

// haveReferences reads the references of --have.
func (f *packFlags) haveReferences() ([]layout.Reference, error) {
	refs := make([]layout.Reference, len(f.have))
	for i, text := range f.have {
		ref, err := layout.ParseReference(text)
		switch {
		case err != nil:
			return nil, &usageError{fmt.Errorf("--have: %w", err)}
		case ref.Transport == layout.TransportStream:
			return nil, &usageError{errors.New("--have can't be read from standard input; give a file")}
		case ref.Transport == layout.TransportArchive && ref.Tag != "":
			return nil, &usageError{fmt.Errorf("--have %s: give the whole archive, without a tag", text)}
		}
		refs[i] = ref
	}
	return refs, nil
}

// holder returns what knows which blobs the far side holds, for a reference of --have.
func (a *app) holder(ctx context.Context, ref layout.Reference, access *registryFlags) (archive.Holder, error) {
	if places.IsArchive(ref) {
		return archive.HeldAfter(ref.Path), nil
	}
	from, err := a.open(ctx, ref, "", access.options(dest))
	if err != nil {
		return nil, fmt.Errorf("--have: %w", err)
	}
	if ref.Tag == "" && ref.Digest == "" {
		return archive.HeldBy(from.Source), nil
	}
	entries, err := from.Entries(ctx)
	if err != nil {
		return nil, fmt.Errorf("--have: %w", err)
	}
	return archive.HeldBy(from.Source, entries...), nil
}
