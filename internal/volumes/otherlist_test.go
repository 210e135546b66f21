package volumes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOtherList tells a list that is another archive's from volumes that are damaged.
func TestOtherList(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		ours, theirs split
		how          func(t *testing.T, file string)
		is           bool
	}{
		{"of other sizes", split{someBytes(4*2000+9, 5), 2000, 0}, split{someBytes(9000, 6), 1100, 0}, nil, true},
		{"of the same sizes", split{someBytes(4*2000+9, 5), 2000, 0}, split{someBytes(4*2000+9, 6), 2000, 0}, nil, true},
		{"with recovery volumes", split{someBytes(4*2000+9, 5), 2000, 2}, split{someBytes(4*2000+9, 6), 2000, 1}, nil, true},
		{"one volume", split{someBytes(2000, 5), 2000, 0}, split{someBytes(2000, 6), 2000, 0}, nil, false},
		{"one volume, with a recovery volume", split{someBytes(2000, 5), 2000, 1}, split{someBytes(2000, 6), 2000, 0}, nil, true},
		{"volumes that do not fit", split{someBytes(4*2000+9, 5), 2000, 0}, split{someBytes(4*2000+9, 6), 2000, 0}, func(t *testing.T, file string) {
			t.Helper()
			must(t, os.Truncate(volumeFile(file, 2, 3), 100))
		}, false},
		{"recovery volumes of the list", split{someBytes(4*2000+9, 5), 2000, 0}, split{someBytes(4*2000+9, 6), 2000, 1}, func(t *testing.T, file string) {
			t.Helper()
			must(t, os.Rename(recoveryFile(filepath.Join(filepath.Dir(file), "theirs", "c"), 1), recoveryFile(file, 1)))
		}, false},
		{"damaged volumes", split{someBytes(4*2000+9, 5), 2000, 0}, split{someBytes(4*2000+9, 5), 2000, 0}, func(t *testing.T, file string) {
			t.Helper()
			for i := range 3 {
				put(t, volumeFile(file, i+1, 3), strings.Repeat("x", 2000))
			}
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, other := filepath.Join(dir, "c"), filepath.Join(dir, "theirs", "c")
			must(t, os.Mkdir(filepath.Dir(other), 0o755))
			test.ours.mustPack(t, file)
			test.theirs.mustPack(t, other)
			must(t, os.Rename(other+listSuffix, file+listSuffix))
			if test.how != nil {
				test.how(t, file)
			}
			_, err := Open(t.Context(), []string{file})
			var lost *LostError
			if !errors.As(err, &lost) {
				t.Fatalf("got %v, want a *LostError", err)
			}
			if is := lost.OtherList == "c"+listSuffix; is != test.is || is != strings.Contains(err.Error(), "c.SHA256SUMS is probably another archive's") {
				t.Errorf("other list %q: %v", lost.OtherList, err)
			}
			if test.is && (len(lost.Volumes) != 1 || !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), test.theirs.id())) {
				t.Errorf("the list is not all that is wrong: %v", err)
			}
		})
	}
}
