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
		{"oci", layout.Reference{Transport: layout.TransportPath, Path: "oci"}},
		{" ", layout.Reference{Transport: layout.TransportPath, Path: " "}},

		{"-", layout.Reference{Transport: layout.TransportStream}},

		{"oci:dir", layout.Reference{Transport: layout.TransportLayout, Path: "dir"}},
		{"oci:/a/b:v1", layout.Reference{Transport: layout.TransportLayout, Path: "/a/b", Tag: "v1"}},
		{"oci:dir:app/x:1", layout.Reference{Transport: layout.TransportLayout, Path: "dir", Tag: "app/x:1"}},
		{"oci:dir:" + long, layout.Reference{Transport: layout.TransportLayout, Path: "dir", Tag: long}},
		{"oci:dir@" + hash, layout.Reference{Transport: layout.TransportLayout, Path: "dir", Digest: hash}},
		{"oci:/a@b/c@" + hash, layout.Reference{Transport: layout.TransportLayout, Path: "/a@b/c", Digest: hash}},
		{"oci:dir:app@" + hash, layout.Reference{Transport: layout.TransportLayout, Path: "dir", Tag: "app@" + hash}},
		{"oci:a@b:v1", layout.Reference{Transport: layout.TransportLayout, Path: "a@b", Tag: "v1"}},
		{"oci:a@b", layout.Reference{Transport: layout.TransportLayout, Path: "a@b"}},
		{"dir@" + hash, layout.Reference{Transport: layout.TransportPath, Path: "dir@" + hash}},
		{"oci:-", layout.Reference{Transport: layout.TransportLayout, Path: "-"}},
		{"oci-archive:f.tar", layout.Reference{Transport: layout.TransportArchive, Path: "f.tar"}},
		{"oci-archive:f.tar:v1", layout.Reference{Transport: layout.TransportArchive, Path: "f.tar", Tag: "v1"}},

		{"docker://localhost:5000/a/b:v1", layout.Reference{Transport: layout.TransportRegistry, Path: "localhost:5000/a/b", Tag: "v1"}},
		{"docker://localhost:5000/a/b", layout.Reference{Transport: layout.TransportRegistry, Path: "localhost:5000/a/b"}},
		{"docker://r.example/a@" + hash, layout.Reference{Transport: layout.TransportRegistry, Path: "r.example/a", Digest: hash}},
		{"docker://[::1]:5000/a", layout.Reference{Transport: layout.TransportRegistry, Path: "[::1]:5000/a"}},

		{"", layout.Reference{}},
		{"oci:", layout.Reference{}},
		{"oci::v1", layout.Reference{}},
		{"oci:dir:", layout.Reference{}},
		{"oci:@" + hash, layout.Reference{}},
		{"oci:dir@sha256:0", layout.Reference{}},
		{"oci:dir@" + hash + ":v1", layout.Reference{}},
		{"oci:dir:no tag", layout.Reference{}},
		{"oci:dir:-v1", layout.Reference{}},
		{"oci:dir:.v1", layout.Reference{}},
		{"oci:dir:v1\n", layout.Reference{}},
		{"oci:dir:t" + long, layout.Reference{}},
		{"oci-archive:", layout.Reference{}},
		{"oci-archive:f.tar:", layout.Reference{}},
		{"docker://", layout.Reference{}},
		{"docker://:v1", layout.Reference{}},
		{"docker://r.example/a:", layout.Reference{}},
		{"docker://r.example/a:no tag", layout.Reference{}},
		{"docker://r.example/a:b:c", layout.Reference{}}, // a layout may have it, no registry does
		{"docker://r.example/a:b@c", layout.Reference{}},
		{"docker://r.example/a@sha256:0", layout.Reference{}},
		{"docker://r.example/a:v1@" + hash, layout.Reference{}},
		{"docker://localhost", layout.Reference{}},
		{"docker://localhost:5000", layout.Reference{}},
		{"docker://team/cache", layout.Reference{}},
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

// TestMisspelt says what is meant by what other programs take.
func TestMisspelt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"docker:x.example/y":              "docker://x.example/y",
		"docker:/x.example/y":             "docker://x.example/y",
		"https://x.example/y:1":           "docker://x.example/y:1",
		"docker://team/cache:1":           "docker://docker.io/team/cache:1",
		"oci://a/b":                       "oci:a/b",
		"oci://127.0.0.1:5871/t/a:main":   "docker://127.0.0.1:5871/t/a:main",
		"oci://./a/b":                     "oci:./a/b",
		"oci-layout:a:v1":                 "oci:a:v1",
		"oci:///a/b":                      "oci:/a/b",
		"oci-archive://a.tar":             "oci-archive:a.tar",
		"DOCKER://x.example/y":            "docker://x.example/y",
		"dir:a":                           "",
		"docker-archive:a.tar":            "",
		"type=registry,ref=x.example/y:1": "docker://x.example/y:1",
		"type=local,src=a":                "oci:a",
		"type=local,dest=a,tag=v1":        "oci:a:v1",
		"type=s3,bucket=b":                "", // of another kind
		"type=gha":                        "",
	} {
		_, err := layout.ParseReference(text)
		var spelling *layout.SpellingError
		if !errors.As(err, &spelling) || spelling.Meant != want {
			t.Errorf("%s: %v, meant %q", text, err, want)
		}
	}
}

// TestSecrets shows nothing of what was given away by mistake, and takes no digest for it.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for text, want := range map[string]string{
		"https://ann:hunter2@x.example/y":                    "docker://x.example/y",
		"docker://ann:hunter2@x.example/y:1":                 "docker://x.example/y:1",
		"docker://ann:hun@ter/2@x.example/y@" + hash:         "docker://x.example/y@" + hash,
		"docker://ann:hunter2@localhost:5000":                "docker://localhost:5000",
		"docker://hunter2@x.example/y":                       "docker://x.example/y",
		"docker:ann:hunter2@x.example/y":                     "docker://x.example/y",
		"oci://ann:hunter2@x.example/y":                      "docker://x.example/y",
		"docker://x.example/y?token=hunter2":                 "docker://x.example/y",
		"https://x.example/y:1#hunter2":                      "docker://x.example/y:1",
		"https://x.example/y?mail=hunter2@z.example/w":       "docker://x.example/y",
		"https://ann:hunter2@x.example/y?hunter2":            "docker://x.example/y",
		"type=registry,ref=ann:hunter2@x.example/y,mode=max": "docker://x.example/y",
		"type=registry,ref=ann:hunter2,@x.example/y":         "docker://x.example/y",
		"type=s3,bucket=b,secret_access_key=hunter2":         "",
		"type=gha,token=hunter2":                             "",
		"docker://ann:hunter2@x.example/y\x00":               "docker://x.example/y\x00",
	} {
		_, err := layout.ParseReference(text)
		var spelling *layout.SpellingError
		if !errors.As(err, &spelling) || !spelling.Secret || spelling.Meant != want || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, meant %q", text, err, want)
		}
	}
	for _, text := range []string{"x.example/y@" + hash, "./ann:a@b/c?d", "oci:a@b/c:d", "docker://x.example/y@" + hash, "oci:a?b"} {
		if _, err := layout.ParseReference(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestLongTags cuts what is too long for a tag where an error shows it, and no tag that there can be.
func TestLongTags(t *testing.T) {
	t.Parallel()
	long, most := strings.Repeat("t", 5000), strings.Repeat("t", 256)
	_, inLayout := layout.ParseReference("oci:dir:" + long)
	_, inRegistry := layout.ParseReference("docker://x.example/y:" + long)
	for _, err := range []error{
		inLayout, inRegistry, layout.CheckTag(long), layout.CheckNewTag(long),
		&layout.NotFoundError{Tag: long, Tags: []string{long}}, &layout.AmbiguousError{Tags: []string{long, long}},
		&layout.DanglingError{Tag: long}, &layout.NoImageError{Tag: long, Tags: []string{long}},
	} {
		if text := err.Error(); len(text) > 400 || !strings.Contains(text, "ttt... (50") {
			t.Errorf("%d bytes: %s", len(text), text)
		}
	}
	if text := (&layout.NotFoundError{Tag: most}).Error(); !strings.Contains(text, most) {
		t.Errorf("a tag that there can be is cut: %s", text)
	}
}

func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{
		"", "-", "./cache:v1", "oci:dir:v1", "oci:::", "oci:a:b:c", "oci-archive:f.tar:v1", "docker://localhost:5000/a/b@sha256:0", "docker:/x", "oci:\x00", "\xff:", "docker://r/a:v1",
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
		case layout.TransportRegistry:
			if ref.Tag != "" && ref.Digest != "" {
				t.Fatalf("%q: tag %q and digest %q", text, ref.Tag, ref.Digest)
			}
		case layout.TransportStream:
			if ref.Tag != "" || ref.Digest != "" {
				t.Fatalf("%q: tag %q, digest %q", text, ref.Tag, ref.Digest)
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
