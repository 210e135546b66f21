package llb

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// setText, setInt and the like return what to do with a field of that type.
func setText(to *string) func(Field) error {
	return func(f Field) error { *to = f.text(); return nil }
}

func addText(to *[]string) func(Field) error {
	return func(f Field) error { *to = append(*to, f.text()); return nil }
}

func setFlag(to *bool) func(Field) error {
	return func(f Field) error { *to = f.flag(); return nil }
}

func setInt[T int64 | int32 | uint32](to *T) func(Field) error {
	return func(f Field) error { *to = T(f.Value); return nil } //nolint:gosec // as protobuf represents it
}

// addInts takes numbers one by one, or packed.
func addInts[T int64 | int32](to *[]T) func(Field) error {
	return func(f Field) error {
		if f.Bytes == nil {
			*to = append(*to, T(f.Value)) //nolint:gosec // as protobuf represents it
			return nil
		}
		for rest := f.Bytes; len(rest) > 0; {
			v, n := protowire.ConsumeVarint(rest)
			if n < 0 {
				return errProto
			}
			*to, rest = append(*to, T(v)), rest[n:] //nolint:gosec // as protobuf represents it
		}
		return nil
	}
}

// addTextPair takes an entry of a map from text to text.
func addTextPair(to *map[string]string) func(Field) error {
	return func(f Field) error {
		return parseMapEntry(f.Bytes, func(key string, value []byte) error {
			if *to == nil {
				*to = map[string]string{}
			}
			(*to)[key] = string(value)
			return nil
		})
	}
}

// setMessage takes a message. A field that occurs again is merged, as protobuf requires.
func setMessage[T any](to **T, fields func(*T) fieldsOf) func(Field) error {
	return func(f Field) error {
		if *to == nil {
			*to = new(T)
		}
		return fields(*to).parse(f.Bytes)
	}
}

func addMessage[T any](to *[]*T, fields func(*T) fieldsOf) func(Field) error {
	return func(f Field) error {
		message := new(T)
		*to = append(*to, message)
		return fields(message).parse(f.Bytes)
	}
}

// fieldsOf maps a field's number to what is done with it.
type fieldsOf map[int]func(Field) error

func (fields fieldsOf) parse(data []byte) error {
	return EachField(data, func(f Field) error {
		if set := fields[f.Number]; set != nil {
			return set(f)
		}
		return errUnknownField
	})
}

// errUnknownField says that a message has a field of a newer version, whose effect on the key is unknown.
var errUnknownField = errors.New("a field that is not known")

func parseExec(data []byte) (*ExecOp, error) {
	e := &ExecOp{}
	return e, fieldsOf{
		1: setMessage(&e.Meta, metaFields),
		2: addMessage(&e.Mounts, mountFields),
		3: setInt(&e.Network),
		4: setInt(&e.Security),
		5: addMessage(&e.Secretenv, func(s *SecretEnv) fieldsOf {
			return fieldsOf{1: setText(&s.ID), 2: setText(&s.Name), 3: setFlag(&s.Optional)}
		}),
		6: addMessage(&e.CDIDevices, func(d *CDIDevice) fieldsOf {
			return fieldsOf{1: setText(&d.Name), 2: setFlag(&d.Optional)}
		}),
	}.parse(data)
}

func metaFields(m *Meta) fieldsOf {
	return fieldsOf{
		1: addText(&m.Args), 2: addText(&m.Env), 3: setText(&m.Cwd), 4: setText(&m.User),
		5: setMessage(&m.ProxyEnv, func(p *ProxyEnv) fieldsOf {
			return fieldsOf{
				1: setText(&p.HTTPProxy), 2: setText(&p.HTTPSProxy), 3: setText(&p.FTPProxy),
				4: setText(&p.NoProxy), 5: setText(&p.AllProxy),
			}
		}),
		6: addMessage(&m.ExtraHosts, func(h *HostIP) fieldsOf {
			return fieldsOf{1: setText(&h.Host), 2: setText(&h.IP)}
		}),
		7: setText(&m.Hostname),
		9: addMessage(&m.Ulimit, func(u *Ulimit) fieldsOf {
			return fieldsOf{1: setText(&u.Name), 2: setInt(&u.Soft), 3: setInt(&u.Hard)}
		}),
		10: setText(&m.CgroupParent), 11: setFlag(&m.RemoveMountStubsRecursive), 12: addInts(&m.ValidExitCodes),
	}
}

func mountFields(m *Mount) fieldsOf {
	return fieldsOf{
		1: setInt(&m.Input), 2: setText(&m.Selector), 3: setText(&m.Dest), 4: setInt(&m.Output),
		5: setFlag(&m.Readonly), 6: setInt(&m.MountType),
		19: setMessage(&m.TmpfsOpt, func(t *TmpfsOpt) fieldsOf { return fieldsOf{1: setInt(&t.Size)} }),
		20: setMessage(&m.CacheOpt, func(c *CacheOpt) fieldsOf {
			return fieldsOf{1: setText(&c.ID), 2: setInt(&c.Sharing)}
		}),
		21: setMessage(&m.SecretOpt, secretFields),
		22: setMessage(&m.SSHOpt, secretFields),
		23: setText(&m.ResultID), 24: setInt(&m.ContentCache),
	}
}

func secretFields(s *SecretOpt) fieldsOf {
	return fieldsOf{1: setText(&s.ID), 2: setInt(&s.UID), 3: setInt(&s.GID), 4: setInt(&s.Mode), 5: setFlag(&s.Optional)}
}

func parseSourceOp(data []byte) (*SourceOp, error) {
	s := &SourceOp{}
	err := fieldsOf{1: setText(&s.Identifier), 2: addTextPair(&s.Attrs)}.parse(data)
	delete(s.Attrs, "local.session") // as in provenance: they say nothing about the source
	delete(s.Attrs, "local.unique")
	return s, err
}

func parseFileOp(data []byte) (*FileOp, error) {
	o := &FileOp{}
	return o, fieldsOf{2: addMessage(&o.Actions, actionFields)}.parse(data)
}

func actionFields(a *FileAction) fieldsOf {
	return fieldsOf{
		1: setInt(&a.Input), 2: setInt(&a.SecondaryInput), 3: setInt(&a.Output),
		4: setMessage(&a.Copy, copyFields),
		5: setMessage(&a.Mkfile, func(m *MkfileAction) fieldsOf {
			return fieldsOf{
				1: setText(&m.Path), 2: setInt(&m.Mode), 3: func(f Field) error { m.Data = f.Bytes; return nil },
				4: setMessage(&m.Owner, ownerFields), 5: setInt(&m.Timestamp),
			}
		}),
		6: setMessage(&a.Mkdir, func(m *MkdirAction) fieldsOf {
			return fieldsOf{
				1: setText(&m.Path), 2: setInt(&m.Mode), 3: setFlag(&m.MakeParents),
				4: setMessage(&m.Owner, ownerFields), 5: setInt(&m.Timestamp),
			}
		}),
		7: setMessage(&a.Rm, func(r *RmAction) fieldsOf {
			return fieldsOf{1: setText(&r.Path), 2: setFlag(&r.AllowNotFound), 3: setFlag(&r.AllowWildcard)}
		}),
		8: setMessage(&a.Symlink, func(s *SymlinkAction) fieldsOf {
			return fieldsOf{
				1: setText(&s.Oldpath), 2: setText(&s.Newpath),
				3: setMessage(&s.Owner, ownerFields), 4: setInt(&s.Timestamp),
			}
		}),
	}
}

func copyFields(c *CopyAction) fieldsOf {
	return fieldsOf{
		1: setText(&c.Src), 2: setText(&c.Dest), 3: setMessage(&c.Owner, ownerFields), 4: setInt(&c.Mode),
		5: setFlag(&c.FollowSymlink), 6: setFlag(&c.DirCopyContents), 7: setFlag(&c.AttemptUnpackDockerCompatibility),
		8: setFlag(&c.CreateDestPath), 9: setFlag(&c.AllowWildcard), 10: setFlag(&c.AllowEmptyWildcard),
		11: setInt(&c.Timestamp), 12: addText(&c.IncludePatterns), 13: addText(&c.ExcludePatterns),
		14: setFlag(&c.AlwaysReplaceExistingDestPaths), 15: setText(&c.ModeStr), 16: addText(&c.RequiredPaths),
	}
}

func ownerFields(c *ChownOpt) fieldsOf {
	return fieldsOf{1: setMessage(&c.User, userFields), 2: setMessage(&c.Group, userFields)}
}

func userFields(u *UserOpt) fieldsOf {
	return fieldsOf{
		1: setMessage(&u.ByName, func(n *NamedUserOpt) fieldsOf {
			return fieldsOf{1: setText(&n.Name), 2: setInt(&n.Input)}
		}),
		2: func(f Field) error { u.ByName = nil; return setInt(&u.ByID)(f) },
	}
}

func refFields(r *InputRef) fieldsOf { return fieldsOf{1: setInt(&r.Input)} }

func parseMerge(data []byte) (*MergeOp, error) {
	m := &MergeOp{}
	return m, fieldsOf{1: addMessage(&m.Inputs, refFields)}.parse(data)
}

func parseDiff(data []byte) (*DiffOp, error) {
	d := &DiffOp{}
	return d, fieldsOf{1: setMessage(&d.Lower, refFields), 2: setMessage(&d.Upper, refFields)}.parse(data)
}

func parseBuild(data []byte) (*BuildOp, error) {
	b := &BuildOp{}
	return b, fieldsOf{
		1: setInt(&b.Builder),
		2: func(f Field) error {
			return parseMapEntry(f.Bytes, func(key string, value []byte) error {
				if b.Inputs == nil {
					b.Inputs = map[string]*InputRef{}
				}
				b.Inputs[key] = &InputRef{}
				return refFields(b.Inputs[key]).parse(value)
			})
		},
		3: func(Field) error { b.Def = &struct{}{}; return nil },
		4: addTextPair(&b.Attrs),
	}.parse(data)
}

func parsePassthrough(data []byte) (*PassthroughOp, error) {
	p := &PassthroughOp{}
	return p, fieldsOf{1: setText(&p.ID), 2: addInts(&p.Outputs)}.parse(data)
}
