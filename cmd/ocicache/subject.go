package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// subject is what a printed command is about: a place, or a cache in it, with the flags for reaching its registry. Every
// printed command about a place is made from one.
type subject struct {
	ref    layout.Reference
	access []string // as shell words
}

// command returns a command about the subject, to be pasted into a shell.
func (s subject) command(name string, more ...string) string {
	return strings.Join(slices.Concat([]string{"ocicache", name}, s.words(), more, s.access), " ")
}

// mention is command as part of a sentence.
func (s subject) mention(name string, more ...string) string {
	return mention(s.command(name, more...))
}

// words returns the reference as shell words. A tag that can't be part of it becomes a flag, or is left out.
func (s subject) words() []string {
	ref := s.ref
	if ref.Transport == layout.TransportStream {
		return []string{stdinName}
	}
	if ref.Transport == layout.TransportPath && ref.Tag == "" && ref.Digest == "" {
		return []string{pathArgument(ref.Path)}
	}
	ref.Transport = transportOf(ref)
	if again, err := layout.ParseReference(ref.String()); err == nil && again == ref {
		return []string{quoted(ref.String())}
	}
	words := []string{pathArgument(ref.Path)}
	if layout.CheckTag(ref.Tag) == nil { // no command takes any other, and the whole place includes it
		words = append(words, "--tag="+quoted(ref.Tag))
	}
	return words
}

// transportOf returns the transport with which a reference with a tag is spelled.
func transportOf(ref layout.Reference) layout.Transport {
	switch {
	case places.IsArchive(ref):
		return layout.TransportArchive
	case ref.Transport == layout.TransportPath:
		return layout.TransportLayout
	}
	return ref.Transport
}

// whole returns the place without choosing anything in it.
func (s subject) whole() subject {
	s.ref.Tag, s.ref.Digest = "", ""
	return s
}

// tagged returns the cache with a tag in the place.
func (s subject) tagged(tag string) subject {
	if tag != "" {
		s.ref.Tag, s.ref.Digest = tag, ""
	}
	return s
}

// argument returns what an argument of the running command names, as the user spelled it; the last one for -1.
func (a *app) argument(n int) (s subject, ok bool) {
	if a.running == nil || a.running.Flags().NArg() == 0 {
		return s, false
	}
	args := a.running.Flags().Args()
	if n < 0 {
		n += len(args)
	}
	if n >= len(args) {
		return s, false
	}
	ref, err := layout.ParseReference(args[n])
	if err != nil {
		return s, false
	}
	if tag := a.running.Flags().Lookup("tag"); n == 0 && tag != nil && tag.Changed && ref.Tag == "" {
		ref.Tag = tag.Value.String()
	}
	return a.subjectOf(ref), true
}

// source returns what the running command reads, according to its first argument.
func (a *app) source() subject {
	if s, ok := a.argument(0); ok {
		return s
	}
	return subject{ref: layout.Reference{Transport: layout.TransportPath, Path: "SRC"}}
}

// subjectOf returns the subject for a reference of the running command.
func (a *app) subjectOf(ref layout.Reference) subject {
	if !isRegistry(ref) || a.running == nil {
		return subject{ref: ref}
	}
	return subject{ref, a.accessTo(a.sideOf(ref))}
}

// at returns the subject for a place that an error names, as it was given to the running command.
func (a *app) at(place string) subject {
	if place == "" { // the place that the bytes came from
		return a.source()
	}
	for _, c := range a.closers {
		if opened, ok := c.(*places.Opened); ok && opened.Source != nil && opened.Source.String() == place {
			return a.subjectOf(opened.Reference)
		}
	}
	ref, err := layout.ParseReference(place)
	if err != nil { // a directory whose name is no reference
		ref = layout.Reference{Transport: layout.TransportPath, Path: place}
	}
	return a.subjectOf(ref)
}

// sideOf returns the side of the running command that a repository is on.
func (a *app) sideOf(ref layout.Reference) side {
	args := a.running.Flags().Args()
	isThis := func(text string) bool {
		other, err := layout.ParseReference(text)
		return err == nil && other.Transport == ref.Transport && other.Path == ref.Path
	}
	switch {
	case a.running.Flags().Lookup(string(src)+"creds") == nil || len(args) == 0:
		return either
	case len(args) > 1 && isThis(args[len(args)-1]):
		return dest
	}
	return src
}

// accessTo returns the flags for reaching the registry on one side, under the names used by commands with only one registry.
func (a *app) accessTo(s side) (words []string) {
	given, flags := a.givenFlags(nil), a.running.Flags()
	flags.VisitAll(func(f *pflag.Flag) {
		if notOfRegistries(f) || strings.HasPrefix(f.Name, string(src)) || strings.HasPrefix(f.Name, string(dest)) {
			return
		}
		if own := flags.Lookup(string(s) + f.Name); own != nil && own.Changed {
			words = append(words, given.words(own, f.Name)...)
		} else if f.Changed {
			words = append(words, given.words(f, f.Name)...)
		}
	})
	return words
}
