package oracle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/cache/contenthash"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/sys/user"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
	"golang.org/x/sys/unix"

	ours "github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/llb"
)

// TestRandomTrees makes directories at random and hashes selections of them: as a build context, which BuildKit sees as
// its client sends it, and as a layer, which it sees unpacked.
func TestRandomTrees(t *testing.T) {
	const seed, enough = 1, 30 * time.Second
	random := rand.New(rand.NewPCG(seed, seed))
	trees, selections, found := 0, 0, 0
	for start := time.Now(); trees < 1000 && time.Since(start) < enough; trees++ {
		dir := t.TempDir()
		randomTree(t, random, dir, 0)
		exclude := randomPatterns(random)
		theirContext := contextOf(t, dir, exclude)
		ourContext, err := ours.FromDir(dir, ours.Filter{Exclude: exclude})
		if err != nil {
			t.Fatal(err)
		}
		theirLayer := rootOf(t, dir)
		ourLayer := layerOf(t, dir)
		for range 40 {
			s := randomSelection(random)
			selections++
			if compareSums(t, "context", dir, s, exclude, theirContext, ourContext) {
				found++
			}
			compareSums(t, "layer", dir, s, nil, theirLayer, ourLayer)
		}
	}
	t.Logf("%d trees, %d selections, %d of something", trees, selections, found)
	if trees < 20 || found < selections/8 {
		t.Error("they say little")
	}
}

// hashed is a tree that BuildKit hashes.
type hashed struct {
	contenthash.CacheContext
	place mountable
}

func (h hashed) sum(ctx context.Context, s llb.Selection) (digest.Digest, error) {
	return h.Checksum(ctx, h.place, path.Join("/", s.Path), contenthash.ChecksumOpts{
		FollowLinks: s.FollowLinks, Wildcard: s.Wildcard, IncludePatterns: s.Include, ExcludePatterns: s.Exclude, RequiredPaths: s.Required,
	}, nil)
}

// compareSums wants the same checksum, or an error from both. It reports whether there was something to hash.
func compareSums(t *testing.T, what, dir string, s llb.Selection, exclude []string, theirs hashed, tree *ours.Tree) bool {
	t.Helper()
	want, wantErr := theirs.sum(t.Context(), s)
	got, err := tree.Checksum(s)
	if (err != nil) != (wantErr != nil) || got != want {
		t.Fatalf("%s without %q, %+v:\n%s, %v; BuildKit says\n%s, %v\n%s", what, exclude, s, got, err, want, wantErr, listing(dir))
	}
	return wantErr == nil && want != digest.FromString("")
}

func listing(dir string) string {
	var b strings.Builder
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, _ error) error {
		info, _ := e.Info()
		to, _ := os.Readlink(p)
		fmt.Fprintf(&b, "%v %s %s\n", info.Mode(), strings.TrimPrefix(p, dir), to)
		return nil
	})
	return b.String()
}

var names = []string{"a", "b", "ab", "c.go", "d.txt", "e_test.go", "x y", ".hidden", "é"}

// randomTree fills a directory: files, directories, links of both kinds, pipes; odd modes, owners and attributes.
func randomTree(t *testing.T, random *rand.Rand, dir string, depth int) {
	t.Helper()
	for range 2 + random.IntN(7) {
		p := filepath.Join(dir, names[random.IntN(len(names))])
		if _, err := os.Lstat(p); err == nil {
			continue
		}
		switch random.IntN(8) {
		case 0, 1:
			if depth < 3 {
				must(t, os.Mkdir(p, 0o755))
				randomTree(t, random, p, depth+1)
				must(t, os.Chmod(p, os.FileMode(0o700|random.IntN(0o100))|randomBits(random)))
			}
		case 2:
			must(t, os.Symlink([]string{"a", "../b", "/a", "c.go", "nowhere", "../../../a", "."}[random.IntN(7)], p))
		case 3:
			if err := os.Link(filepath.Join(dir, "a"), p); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
				t.Fatal(err)
			}
		case 4:
			must(t, unix.Mkfifo(p, 0o600))
		default:
			must(t, os.WriteFile(p, bytes.Repeat([]byte("x"), random.IntN(40)), 0o600))
			_ = unix.Setxattr(p, "user.a", []byte{byte(random.IntN(3))}, 0)
			must(t, os.Chmod(p, os.FileMode(0o400|random.IntN(0o400))|randomBits(random)))
		}
		if os.Geteuid() == 0 && random.IntN(3) == 0 {
			must(t, os.Lchown(p, random.IntN(3), random.IntN(3)))
		}
	}
}

func randomBits(random *rand.Rand) os.FileMode {
	return []os.FileMode{0, 0, 0, os.ModeSetuid, os.ModeSetgid, os.ModeSticky}[random.IntN(6)]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func randomPatterns(random *rand.Rand) []string {
	all := []string{"a", "b", "*.go", "**/*.txt", "!c.go", "a/b", "!a/b", "**/a", "x y", "!**/c.go", ".*", "a/*", "!a"}
	var some []string
	for range random.IntN(4) {
		some = append(some, all[random.IntN(len(all))])
	}
	return some
}

func randomSelection(random *rand.Rand) llb.Selection {
	paths := []string{"/", "", "a", "b", "/a/b", "a/a", "*", "/a/*", "*/*", "[ab]", "/?/*.go", "/*.go", "a/../b", "/l", "ab/*", "/x y", "/*/a/*", "\\*"}
	s := llb.Selection{Path: paths[random.IntN(len(paths))], FollowLinks: random.IntN(2) == 0}
	s.Wildcard = random.IntN(4) > 0 && llb.HasWildcard(s.Path)
	if random.IntN(3) == 0 {
		s.Exclude = randomPatterns(random)
	}
	if random.IntN(3) == 0 {
		s.Include = randomPatterns(random)
	}
	return s
}

// contextOf gives BuildKit a directory as its client sends it.
func contextOf(t *testing.T, dir string, exclude []string) hashed {
	t.Helper()
	h := newHashed(t, t.TempDir()) // all that is sent is told; a context of nothing is an empty directory
	all, err := fsutil.NewFS(dir)
	must(t, err)
	sent, err := fsutil.NewFilterFS(all, &fsutil.FilterOpt{ExcludePatterns: exclude, Map: func(_ string, s *fstypes.Stat) fsutil.MapResult {
		s.Uid, s.Gid = 0, 0
		return fsutil.MapResultKeep
	}})
	must(t, err)
	var hard []sentFile // in the order in which they come; the files that they are links to come before
	err = sent.Walk(t.Context(), "", func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*fstypes.Stat)
		if !ok {
			return fmt.Errorf("%s has no stat", p)
		}
		hard = append(hard, sentFile{p, info, stat})
		return nil
	})
	must(t, err)
	for _, f := range hard {
		hash, err := contenthash.NewFromStat(f.stat.Clone())
		must(t, err)
		if f.info.Mode().IsRegular() && f.stat.Linkname == "" {
			file, err := os.Open(filepath.Join(dir, f.path))
			must(t, err)
			_, err = io.Copy(hash, file)
			must(t, err)
			must(t, file.Close())
		}
		must(t, h.HandleChange(fsutil.ChangeKindAdd, f.path, hashedInfo{f.info, digest.NewDigest(digest.SHA256, hash)}, nil))
	}
	return h
}

type sentFile struct {
	path string
	info fs.FileInfo
	stat *fstypes.Stat
}

type hashedInfo struct {
	fs.FileInfo
	digest digest.Digest
}

func (i hashedInfo) Digest() digest.Digest { return i.digest }

// rootOf gives BuildKit a directory as the files of a result.
func rootOf(t *testing.T, dir string) hashed {
	t.Helper()
	return newHashed(t, dir)
}

func newHashed(t *testing.T, dir string) hashed {
	t.Helper()
	place := mountable{dir}
	c, err := contenthash.GetCacheContext(t.Context(), &metadata{id: fmt.Sprint(dir, " ", len(dir), " ", time.Now().UnixNano()), values: map[string][]byte{}})
	must(t, err)
	return hashed{c, place}
}

// metadata is as much of a cache's record as hashing needs.
type metadata struct {
	cache.RefMetadata
	id     string
	values map[string][]byte
}

func (m *metadata) ID() string                                 { return m.id }
func (m *metadata) GetEqualMutable() (cache.RefMetadata, bool) { return nil, false }
func (m *metadata) SetExternal(string, []byte) error           { return nil }
func (m *metadata) GetExternal(string) ([]byte, error)         { return nil, fs.ErrNotExist }

// mountable is a directory that can be mounted, which is to say that it is there.
type mountable struct{ dir string }

func (m mountable) Mount(context.Context, bool, session.Group) (snapshot.Mountable, error) {
	return mounted(m), nil
}

type mounted struct{ dir string }

func (m mounted) Mount() ([]mount.Mount, func() error, error) {
	return []mount.Mount{{Type: "bind", Source: m.dir, Options: []string{"rbind", "rw"}}}, func() error { return nil }, nil
}
func (m mounted) IdentityMapping() *user.IdentityMapping { return nil }

// layerOf gives us a directory as a layer.
func layerOf(t *testing.T, dir string) *ours.Tree {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	seen := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return addToTar(w, dir, p, seen)
	}))
	must(t, w.Close())
	layer, err := ours.ReadLayer(&b)
	must(t, err)
	return ours.Scratch().With(layer)
}

func addToTar(w *tar.Writer, dir, p string, seen map[uint64]string) error {
	info, err := os.Lstat(p)
	if err != nil {
		return err
	}
	to, _ := os.Readlink(p)
	header, err := tar.FileInfoHeader(info, to)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(dir, p)
	if err != nil {
		return err
	}
	header.Name = rel
	if info.IsDir() {
		header.Name += "/"
	}
	var stat unix.Stat_t
	if err := unix.Lstat(p, &stat); err != nil {
		return err
	}
	if !info.IsDir() && stat.Nlink > 1 {
		if first, ok := seen[stat.Ino]; ok {
			header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
		}
		seen[stat.Ino] = rel
	}
	if info.Mode().IsRegular() {
		value := make([]byte, 16)
		if n, err := unix.Getxattr(p, "user.a", value); err == nil {
			header.PAXRecords = map[string]string{"SCHILY.xattr.user.a": string(value[:n])}
		}
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	if header.Typeflag != tar.TypeReg {
		return nil
	}
	data, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}
