package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// Found is what is in a source.
type Found struct {
	Source string `json:"source"`
	Caches int    `json:"caches"`
	Others int    `json:"others"` // entries that are not caches
	Broken int    `json:"broken"` // entries whose roots are missing or can't be read
	// Cause is why a plan would bring nothing over from it, "" if there is a cache.
	Cause Cause `json:"cause,omitempty"`
	// Layers and Bytes count the layers that the roots name, each once.
	Layers       int                            `json:"layers"`
	Bytes        int64                          `json:"bytes"`
	Forms        map[buildcache.Form]int        `json:"forms,omitempty"`
	Compressions map[buildcache.Compression]int `json:"compressions,omitempty"` // of layers, as the roots say
}

// Look says what is in a source. It writes nothing. It fails with a *layout.NotFoundError if there is no such repository.
func Look(ctx context.Context, source string, o Options) (found *Found, err error) {
	o = o.withDefaults()
	ref, err := layout.ParseReference(source)
	if err != nil {
		return nil, err
	}
	src, err := places.Open(ctx, ref, o.places(&Plan{}, ref))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	entries, err := src.Entries(ctx)
	if err == nil && len(entries) == 0 {
		err = layout.CheckThere(ctx, src.Source)
	}
	if err != nil {
		return nil, err
	}
	found = &Found{Source: source, Forms: map[buildcache.Form]int{}, Compressions: map[buildcache.Compression]int{}}
	seen := map[string]bool{}
	for _, entry := range entries {
		if err := found.add(ctx, src.Source, entry, seen); err != nil {
			return nil, err
		}
	}
	switch {
	case found.Caches > 0:
		found.Cause = ""
	case found.Broken == 0:
		found.Cause = CauseTooFew
	}
	return found, nil
}

// add counts an entry. seen are the layers already counted.
func (f *Found) add(ctx context.Context, src layout.Source, entry layout.Entry, seen map[string]bool) error {
	switch {
	case entry.Kind.IsImage():
		f.Others++
		return nil
	case entry.Kind != layout.KindCache:
		f.Broken++
		f.Cause = cmp.Or(f.Cause, causeOfBroken(entry))
		return nil
	}
	raw, err := layout.ReadUnverified(ctx, src, entry.Descriptor, buildcache.MaxRoot)
	if err != nil {
		return err
	}
	root, err := buildcache.ParseRoot(raw)
	if err != nil {
		return err
	}
	f.Caches++
	f.Forms[root.Form]++
	for _, layer := range root.LayersByDigest() {
		if seen[layer.Digest.String()] {
			continue
		}
		seen[layer.Digest.String()] = true
		f.Layers++
		f.Bytes += layer.Size
		compression, _ := buildcache.LayerCompression(layer.MediaType)
		if layer.Annotations[buildcache.AnnotationTOCDigest] != "" {
			compression = buildcache.Estargz
		}
		f.Compressions[compression]++
	}
	return nil
}

// Draft writes a plan that brings everything found to a target. It adds {repository} to the target if there are several sources, or if the
// target is just a registry. If the options say how to trust registries, so does the plan.
func Draft(found []*Found, to string, o Options, notes func(*Found) string) string {
	if host, ok := strings.CutPrefix(to, string(layout.TransportRegistry)+"://"); (len(found) > 1 || ok && layout.IsHost(strings.TrimSuffix(host, "/"))) &&
		!strings.Contains(to, wordRepository) {
		to = strings.TrimSuffix(to, "/") + "/" + wordRepository
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# A plan of ocicache, for migrate check and migrate run.\nversion: %d\n", PlanVersion)
	if hosts := hostsIn(found, to); len(hosts) > 0 {
		trust, more := "", "rate, tls_verify, authfile, cert_dir"
		if o.Registry.TLSVerify != nil && !*o.Registry.TLSVerify {
			trust, more = ", tls_verify: false", "rate, authfile, cert_dir"
		}
		b.WriteString("registries:\n")
		for _, host := range hosts {
			fmt.Fprintf(&b, "  %s: {transfers: %d%s} # also %s\n", strconv.Quote(host), DefaultJobs, trust, more)
		}
	}
	if strings.HasPrefix(to, string(layout.TransportRegistry)+"://") {
		b.WriteString("defaults: {to: auto} # also compression, level, force, for, prune\n")
	}
	b.WriteString("migrations:\n")
	taken := names{}
	for _, f := range found {
		fmt.Fprintf(&b, "  # %s\n", notes(f))
		fmt.Fprintf(&b, "  - source: %s\n    target: %s\n", strconv.Quote(f.Source), strconv.Quote(taken.targetOf(f.Source, to)))
		if ref, err := layout.ParseReference(f.Source); err == nil && ref.Tag == "" && ref.Digest == "" {
			fmt.Fprintf(&b, "    tags: {allow: [\".*\"], min: %d}\n", max(f.Caches, 1))
		}
	}
	return b.String()
}

// hostsIn returns the registries of a plan.
func hostsIn(found []*Found, to string) []string {
	hosts := map[string]bool{}
	texts := []string{strings.NewReplacer(wordRepository, "x", wordTag, "x").Replace(to)}
	for _, f := range found {
		texts = append(texts, f.Source)
	}
	for _, text := range texts {
		ref, err := layout.ParseReference(text)
		if err == nil && hostOf(ref) != "" {
			hosts[hostOf(ref)] = true
		}
	}
	return slices.Sorted(maps.Keys(hosts))
}
