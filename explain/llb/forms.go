package llb

// What follows is JSON as BuildKit before v0.17 wrote it: indexes are never left out, and an ID is spelled byID.

type oldMount struct {
	Input        int64      `json:"input"`
	Selector     string     `json:"selector,omitempty"`
	Dest         string     `json:"dest,omitempty"`
	Output       int64      `json:"output"`
	Readonly     bool       `json:"readonly,omitempty"`
	MountType    int32      `json:"mountType,omitempty"`
	TmpfsOpt     *TmpfsOpt  `json:"TmpfsOpt,omitempty"`
	CacheOpt     *CacheOpt  `json:"cacheOpt,omitempty"`
	SecretOpt    *SecretOpt `json:"secretOpt,omitempty"`
	SSHOpt       *SecretOpt `json:"SSHOpt,omitempty"`
	ResultID     string     `json:"resultID,omitempty"`
	ContentCache int32      `json:"contentCache,omitempty"`
}

type oldExec struct {
	Meta      *Meta        `json:"meta,omitempty"`
	Mounts    []oldMount   `json:"mounts,omitempty"`
	Network   int32        `json:"network,omitempty"`
	Security  int32        `json:"security,omitempty"`
	Secretenv []*SecretEnv `json:"secretenv,omitempty"`
}

type oldRef struct {
	Input int64 `json:"input"`
}

type oldMerge struct {
	Inputs []oldRef `json:"inputs,omitempty"`
}

type oldDiff struct {
	Lower oldRef `json:"lower"`
	Upper oldRef `json:"upper"`
}

type oldBuild struct {
	Builder int64             `json:"builder"`
	Inputs  map[string]oldRef `json:"inputs,omitempty"`
	Attrs   map[string]string `json:"attrs,omitempty"`
}

type oldNamed struct {
	Name  string `json:"name,omitempty"`
	Input int64  `json:"input"`
}

type oldUser struct {
	User struct {
		ByName *oldNamed `json:"byName,omitempty"`
		ByID   uint32    `json:"byID,omitempty"`
	}
}

type oldOwner struct {
	User  *oldUser `json:"user,omitempty"`
	Group *oldUser `json:"group,omitempty"`
}

func (e *ExecOp) in(form Form) any {
	if form < FormV13 {
		return e
	}
	old := oldExec{Meta: e.Meta, Network: e.Network, Security: e.Security, Secretenv: e.Secretenv}
	for _, m := range e.Mounts {
		old.Mounts = append(old.Mounts, oldMount(*m))
	}
	return old
}

func (m *MergeOp) in(form Form) any {
	if form < FormV13 {
		return m
	}
	var old oldMerge
	for _, input := range m.Inputs {
		old.Inputs = append(old.Inputs, oldRef(*input))
	}
	return old
}

func (d *DiffOp) in(form Form) any {
	if form < FormV13 {
		return d
	}
	return oldDiff{Lower: oldRef(*d.Lower), Upper: oldRef(*d.Upper)}
}

func (b *BuildOp) in(form Form) any {
	if form < FormV13 {
		return b
	}
	old := oldBuild{Builder: b.Builder, Attrs: b.Attrs}
	for name, input := range b.Inputs {
		if old.Inputs == nil {
			old.Inputs = map[string]oldRef{}
		}
		if input != nil {
			old.Inputs[name] = oldRef(*input)
		}
	}
	return old
}

func (c *ChownOpt) old() *oldOwner {
	if c == nil {
		return nil
	}
	return &oldOwner{User: c.User.old(), Group: c.Group.old()}
}

func (u *UserOpt) old() *oldUser {
	if u == nil {
		return nil
	}
	old := &oldUser{}
	old.User.ByID = u.ByID
	if u.ByName != nil {
		old.User.ByName = &oldNamed{Name: u.ByName.Name, Input: u.ByName.Input}
	}
	return old
}

type oldCopy struct {
	Src                              string    `json:"src,omitempty"`
	Dest                             string    `json:"dest,omitempty"`
	Owner                            *oldOwner `json:"owner,omitempty"`
	Mode                             int32     `json:"mode,omitempty"`
	FollowSymlink                    bool      `json:"followSymlink,omitempty"`
	DirCopyContents                  bool      `json:"dirCopyContents,omitempty"`
	AttemptUnpackDockerCompatibility bool      `json:"attemptUnpackDockerCompatibility,omitempty"`
	CreateDestPath                   bool      `json:"createDestPath,omitempty"`
	AllowWildcard                    bool      `json:"allowWildcard,omitempty"`
	AllowEmptyWildcard               bool      `json:"allowEmptyWildcard,omitempty"`
	Timestamp                        int64     `json:"timestamp,omitempty"`
	IncludePatterns                  []string  `json:"include_patterns,omitempty"`
	ExcludePatterns                  []string  `json:"exclude_patterns,omitempty"`
	AlwaysReplaceExistingDestPaths   bool      `json:"alwaysReplaceExistingDestPaths,omitempty"`
	ModeStr                          string    `json:"modeStr,omitempty"`
	RequiredPaths                    []string  `json:"required_paths,omitempty"`
}

func (c *CopyAction) in(form Form) any {
	if form < FormV13 || c.Owner == nil {
		return c
	}
	return oldCopy{
		Src: c.Src, Dest: c.Dest, Owner: c.Owner.old(), Mode: c.Mode, FollowSymlink: c.FollowSymlink,
		DirCopyContents: c.DirCopyContents, AttemptUnpackDockerCompatibility: c.AttemptUnpackDockerCompatibility,
		CreateDestPath: c.CreateDestPath, AllowWildcard: c.AllowWildcard, AllowEmptyWildcard: c.AllowEmptyWildcard,
		Timestamp: c.Timestamp, IncludePatterns: c.IncludePatterns, ExcludePatterns: c.ExcludePatterns,
		AlwaysReplaceExistingDestPaths: c.AlwaysReplaceExistingDestPaths, ModeStr: c.ModeStr, RequiredPaths: c.RequiredPaths,
	}
}

func (m *MkfileAction) in(form Form) any {
	if form < FormV13 || m.Owner == nil {
		return m
	}
	return struct {
		Path      string    `json:"path,omitempty"`
		Mode      int32     `json:"mode,omitempty"`
		Data      []byte    `json:"data,omitempty"`
		Owner     *oldOwner `json:"owner,omitempty"`
		Timestamp int64     `json:"timestamp,omitempty"`
	}{m.Path, m.Mode, m.Data, m.Owner.old(), m.Timestamp}
}

func (m *MkdirAction) in(form Form) any {
	if form < FormV13 || m.Owner == nil {
		return m
	}
	return struct {
		Path        string    `json:"path,omitempty"`
		Mode        int32     `json:"mode,omitempty"`
		MakeParents bool      `json:"makeParents,omitempty"`
		Owner       *oldOwner `json:"owner,omitempty"`
		Timestamp   int64     `json:"timestamp,omitempty"`
	}{m.Path, m.Mode, m.MakeParents, m.Owner.old(), m.Timestamp}
}

func (s *SymlinkAction) in(form Form) any {
	if form < FormV13 || s.Owner == nil {
		return s
	}
	return struct {
		Oldpath   string    `json:"oldpath,omitempty"`
		Newpath   string    `json:"newpath,omitempty"`
		Owner     *oldOwner `json:"owner,omitempty"`
		Timestamp int64     `json:"timestamp,omitempty"`
	}{s.Oldpath, s.Newpath, s.Owner.old(), s.Timestamp}
}
