package layout_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/layout"
)

func TestParseReference(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("t", 256)
	const hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, test := range []struct {
		text string
		want layout.Reference // the zero value for no reference
	}{
		// A bare path is never cut at a colon.
		{"./cache", layout.Reference{Transport: layout.TransportPath, Path: "./cache"}},
		{"./cache:v1", layout.Reference{Transport: layout.TransportPath, Path: "./cache:v1"}},
		{"cache", layout.Reference{Transport: layout.TransportPath, Path: "cache"}},
		{"cache:v1", layout.Reference{Transport: layout.TransportPath, Path: "cache:v1"}},
		{"/", layout.Reference{Transport: layout.TransportPath, Path: "/"}},
		{"--", layout.Reference{Transport: layout.TransportPath, Path: "--"}},
		{"-x", layout.Reference{Transport: layout.TransportPath, Path: "-x"}},
		{"ocicache:x", layout.Reference{Transport: layout.TransportPath, Path: "ocicache:x"}},
		{"OCI:x", layout.Reference{Transport: layout.TransportPath, Path: "OCI:x"}},
		{"docker:x", layout.Reference{Transport: layout.TransportPath, Path: "docker:x"}},
		{"oci", layout.Reference{Transport: layout.TransportPath, Path: "oci"}},
		{" ", layout.Reference{Transport: layout.TransportPath, Path: " "}},

		{"-", layout.Reference{Transport: layout.TransportStream}},

		{"oci:dir", layout.Reference{Transport: layout.TransportLayout, Path: "dir"}},
		{"oci:/a/b:v1", layout.Reference{Transport: layout.TransportLayout, Path: "/a/b", Tag: "v1"}},
		{"oci:dir:app/x:1", layout.Reference{Transport: layout.TransportLayout, Path: "dir", Tag: "app/x:1"}},
		{"oci:dir:" + long, layout.Reference{Transport: layout.TransportLayout, Path: "dir", Tag: long}},
		{"oci:-", layout.Reference{Transport: layout.TransportLayout, Path: "-"}},
		{"oci-archive:f.tar", layout.Reference{Transport: layout.TransportArchive, Path: "f.tar"}},
		{"oci-archive:f.tar:v1", layout.Reference{Transport: layout.TransportArchive, Path: "f.tar", Tag: "v1"}},

		{"docker://localhost:5000/a/b:v1", layout.Reference{Transport: layout.TransportRegistry, Path: "localhost:5000/a/b", Tag: "v1"}},
		{"docker://localhost:5000/a/b", layout.Reference{Transport: layout.TransportRegistry, Path: "localhost:5000/a/b"}},
		{"docker://r/a@" + hash, layout.Reference{Transport: layout.TransportRegistry, Path: "r/a", Digest: hash}},

		{"", layout.Reference{}},
		{"oci:", layout.Reference{}},
		{"oci::v1", layout.Reference{}},
		{"oci:dir:", layout.Reference{}},
		{"oci:dir:no tag", layout.Reference{}},
		{"oci:dir:-v1", layout.Reference{}},
		{"oci:dir:.v1", layout.Reference{}},
		{"oci:dir:v1\n", layout.Reference{}},
		{"oci:dir:t" + long, layout.Reference{}},
		{"oci-archive:", layout.Reference{}},
		{"oci-archive:f.tar:", layout.Reference{}},
		{"docker://", layout.Reference{}},
		{"docker://:v1", layout.Reference{}},
		{"docker://r/a:", layout.Reference{}},
		{"docker://r/a:no tag", layout.Reference{}},
		{"docker://r/a@sha256:0", layout.Reference{}},
		{"docker://r/a:v1@" + hash, layout.Reference{}},
		{"docker:/r/a", layout.Reference{}},
		{"https://r/a", layout.Reference{}},
		{"ocidir://a", layout.Reference{}},
		{"a\x00b", layout.Reference{}},
		{"oci:a\x00b", layout.Reference{}},
	} {
		got, err := layout.ParseReference(test.text)
		if test.want == (layout.Reference{}) {
			if !errors.Is(err, layout.ErrReference) || got != (layout.Reference{}) {
				t.Errorf("%q: %+v %v, want ErrReference", test.text, got, err)
			}
			continue
		}
		if err != nil || got != test.want {
			t.Errorf("%q: %+v %v, want %+v", test.text, got, err, test.want)
		}
		if got.String() != test.text {
			t.Errorf("%q is written %q", test.text, got)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{
		"", "-", "./cache:v1", "oci:dir:v1", "oci:::", "oci:a:b:c", "oci-archive:f.tar:v1", "docker://localhost:5000/a/b@sha256:0", "docker:/x", "oci:\x00", "\xff:",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := layout.ParseReference(text)
		if err != nil {
			if !errors.Is(err, layout.ErrReference) || ref != (layout.Reference{}) {
				t.Fatalf("%q: %+v %v", text, ref, err)
			}
			return
		}
		if ref.String() != text {
			t.Fatalf("%q is written %q", text, ref)
		}
		if ref.Tag != "" && layout.CheckTag(ref.Tag) != nil {
			t.Fatalf("%q: tag %q", text, ref.Tag)
		}
		if (ref.Path == "") != (ref.Transport == layout.TransportStream) || strings.Contains(ref.Path, "\x00") {
			t.Fatalf("%q: path %q", text, ref.Path)
		}
		switch ref.Transport {
		case layout.TransportLayout, layout.TransportArchive:
			if strings.Contains(ref.Path, ":") {
				t.Fatalf("%q: path %q", text, ref.Path)
			}
		case layout.TransportPath:
			if ref.Path != text {
				t.Fatalf("%q: path %q", text, ref.Path)
			}
		case layout.TransportRegistry, layout.TransportStream:
			if ref.Tag != "" {
				t.Fatalf("%q: tag %q", text, ref.Tag)
			}
		default:
			t.Fatalf("%q: transport %q", text, ref.Transport)
		}
	})
}

func TestCheckTag(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"latest": true, "v1.0_x-y": true, "app/x:1": true, "a@b": true, "a+b": true, "_": true,
		"": false, "-x": false, "/x": false, "a b": false, "ä": false, "x\n": false,
	} {
		if err := layout.CheckTag(text); (err == nil) != want || err != nil && !errors.Is(err, layout.ErrReference) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
