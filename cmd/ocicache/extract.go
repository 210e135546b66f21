package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

func (a *app) extractCommand() *cobra.Command {
	var to string
	flags := &transferFlags{}
	cmd := &cobra.Command{
		Use:   "extract REF DST",
		Short: "Turn an image's inline cache into a separate cache",
		Long: `Turn the inline cache that an image carries (--cache-to type=inline) into a separate cache. Builds that import it hit
what they would hit with the image, so the image is no longer needed for that. For an image with several platforms, the
inline caches of all platforms become one cache.

Layers are copied and verified, and keep their compression. The tag moves last, once the result is checked by the rules of
BuildKit's importer. Images are never changed: in the image's own layout, the cache needs a different tag.`,
		Example: `  ocicache extract docker://registry.example.com/team/app:main docker://registry.example.com/team/cache:main
  ocicache extract oci:./image:1 oci:./cache:latest --to docker-list`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runExtract(cmd.Context(), to, flags, args) },
	}
	cmd.Flags().StringVar(&to, "to", "", "`FORM`: docker-list, oci-index, artifact or auto (default artifact; for a registry auto)")
	flags.add(a, cmd)
	cmd.Flags().Lookup("tag").Usage = "`TAG` of the image in REF"
	return cmd
}

func (a *app) runExtract(ctx context.Context, to string, flags *transferFlags, args []string) error {
	options := convert.Options{Form: cmp.Or(defaultForm("", args[1]), buildcache.Artifact)}
	switch to {
	case "":
	case auto:
		options.Form = convert.AutoForm
	default:
		var err error
		if options.Form, err = buildcache.ParseForm(to); err != nil {
			return &usageError{unknownForm(fmt.Errorf("--to: %w, or %s", err, auto), to)}
		}
	}
	t, err := a.newTransfer(ctx, flags, args)
	if err != nil {
		return err
	}
	if err := flags.complete(t, &options); err != nil {
		return err
	}
	image, err := t.src.Image(ctx)
	if err != nil {
		return err
	}
	inlined, err := convert.ReadInline(ctx, t.src.Source, image)
	if err != nil {
		return err
	}
	// DST is opened last, so that nothing is made there for an image without an inline cache.
	if err := a.openDestination(ctx, t, flags); err != nil {
		return err
	}
	handler, stop := a.show()
	options.OnEvent = handler
	done, err := inlined.Extract(ctx, t.dst, cmp.Or(t.tag, image.Tag, layout.DefaultTag), options)
	stop()
	if err != nil {
		return err
	}
	if err := flags.writeDigests(ctx, string(done.To.Digest)); err != nil {
		return err
	}
	result := extractResult{
		Source: t.srcName, Destination: t.dstName, CacheFrom: places.CacheFrom(t.dstRef, done.Tag, done.To.Digest), ExtractResult: done, to: t.dstRef,
	}
	return a.write(result, result.render)
}

// extractResult is what extract writes with --json.
type extractResult struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	// CacheFrom is the value of --cache-from that imports the cache.
	CacheFrom string `json:"cacheFrom,omitempty"`
	*convert.ExtractResult

	to layout.Reference
}

func (r extractResult) render(w io.Writer) error {
	done := "extracted"
	switch {
	case r.Skipped:
		done = "nothing to do, it is already there"
	case r.DryRun:
		done = "dry run, nothing was written"
	}
	say(w, "%s, tag %s: %s\n", r.Destination, r.Tag, done)
	err := table(w, func(w io.Writer) {
		row := func(what, value string) { sayRow(w, what, value) }
		row("image", r.Image.String())
		row("form", string(r.To.Form))
		row("media type", r.To.MediaType)
		row("root", r.To.Digest.String())
		row("config", r.To.Config.String())
		row("layers", fmt.Sprintf("%s, %s", count(len(r.Layers), "blob"), size(r.To.LayersBytes)))
		for _, image := range r.Images {
			row(cmp.Or(image.Platform, short(image.Manifest)), imageLine(image))
		}
	})
	if err != nil {
		return err
	}
	for _, note := range r.Notes {
		say(w, "  note: %s\n", note)
	}
	sayImport(w, "it", r.CacheFrom, !r.DryRun || r.Skipped)
	return nil
}

// imageLine describes what was extracted from one image.
func imageLine(image convert.ExtractedImage) string {
	if image.PassedOver != "" {
		return "skipped: " + image.PassedOver
	}
	return fmt.Sprintf("%s, %s, %s", count(image.Records, "record"), count(image.Results, "result"), count(image.Layers, "layer"))
}
