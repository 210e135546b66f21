package contenthash

import (
	"path"

	"github.com/ocicache/ocicache/explain/llb"
)

// Defined returns the files that a file operation creates from scratch, and true
// if the operation alone determines all of them.
func Defined(op *llb.FileOp) (*Tree, bool) {
	tree := &Tree{root: Scratch().root, gen: 1}
	for i, a := range op.Actions {
		if i == 0 && a.Input != llb.NoInput || i > 0 && a.Input != int64(i-1) {
			return nil, false
		}
		switch {
		case a.Mkfile != nil:
			uid, gid, ok := owner(a.Mkfile.Owner)
			if !ok {
				return nil, false
			}
			h := Header{Type: TypeFile, Mode: int64(a.Mkfile.Mode) & 0o7777, UID: uid, GID: gid, Size: int64(len(a.Mkfile.Data))}
			dir, name := path.Split(path.Join("/", a.Mkfile.Path))
			tree.put(dir, name, &node{header: h, own: h.digest(a.Mkfile.Data)})
		case a.Mkdir != nil:
			uid, gid, ok := owner(a.Mkdir.Owner)
			if !ok {
				return nil, false
			}
			h := Header{Type: TypeDir, Mode: int64(a.Mkdir.Mode) & 0o7777, UID: uid, GID: gid}
			tree.setHeader(tree.dir(path.Join("/", a.Mkdir.Path)), h)
		default:
			return nil, false
		}
	}
	return tree, true
}

// owner returns the IDs of an owner, and false if a name has to be looked up.
func owner(c *llb.ChownOpt) (uid, gid int, ok bool) {
	if c == nil {
		return 0, 0, true
	}
	for _, of := range []struct {
		who *llb.UserOpt
		to  *int
	}{{c.User, &uid}, {c.Group, &gid}} {
		if of.who == nil {
			continue
		}
		if of.who.ByName != nil {
			return 0, 0, false
		}
		*of.to = int(of.who.ByID)
	}
	return uid, gid, true
}
