package llb

import (
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
)

// execKey is the preimage of a command's cache key.
type execKey struct {
	Type       string
	Exec       any
	OS         string
	Arch       string
	Variant    string   `json:",omitempty"`
	OSVersion  string   `json:",omitempty"`
	OSFeatures []string `json:",omitempty"`
}

func (e *ExecOp) cacheMap(inputs int, p Platform, form Form) (*CacheMap, error) {
	preimage, err := marshal(execKey{
		Type: "buildkit.exec.v0", Exec: e.keyed(form).in(form),
		OS: p.OS, Arch: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
	})
	if err != nil {
		return nil, err
	}
	deps, err := e.deps(inputs, form)
	if err != nil {
		return nil, err
	}
	return &CacheMap{Key: NewKey(preimage), Deps: deps}, nil
}

// keyed returns the command stripped of everything that does not enter its key.
func (e *ExecOp) keyed(form Form) *ExecOp {
	op, meta := *e, *e.Meta
	op.Meta = &meta
	meta.ProxyEnv = nil
	if form >= FormV8 {
		meta.RemoveMountStubsRecursive = false
	}
	meta.ExtraHosts = nil
	for _, h := range e.Meta.ExtraHosts {
		meta.ExtraHosts = append(meta.ExtraHosts, &HostIP{Host: h.Host})
	}
	op.Mounts = nil
	for _, m := range e.Mounts {
		op.Mounts = append(op.Mounts, m.keyed(form))
	}
	if len(op.Mounts) == 1 && op.Mounts[0].isPlainRoot() {
		op.Mounts = nil
	}
	return &op
}

func (m *Mount) keyed(form Form) *Mount {
	mount := *m
	mount.Selector = ""
	if m.CacheOpt != nil && form <= FormV13 && !m.hasDefaultID() {
		mount.CacheOpt = &CacheOpt{}
	}
	return &mount
}

// hasDefaultID reports whether a cache mount has default sharing and the Dockerfile frontend's default ID, perhaps in a namespace.
func (m *Mount) hasDefaultID() bool {
	if m.CacheOpt.Sharing != 0 {
		return false
	}
	_, rest, ok := strings.Cut(m.CacheOpt.ID, "/")
	return m.CacheOpt.ID == m.Dest || ok && rest == m.Dest
}

// isPlainRoot reports whether a mount is an ordinary root, which is left out of the key if it is the only mount.
func (m *Mount) isPlainRoot() bool {
	return m.Dest == "/" && !m.Readonly && m.MountType == MountBind &&
		m.CacheOpt == nil && m.SSHOpt == nil && m.SecretOpt == nil && m.ResultID == ""
}

// execDep is what all mounts of one input contribute to its Dep.
type execDep struct {
	selectors []string
	content   bool
}

func (e *ExecOp) deps(inputs int, form Form) ([]Dep, error) {
	all := make([]execDep, inputs)
	for i := range all {
		all[i].content = form >= FormV11 // old versions start with true; a mount turns it off
	}
	for _, m := range e.Mounts {
		if m.MountType == MountSecret || m.MountType == MountSSH || m.MountType == MountTmpfs || m.Input == NoInput {
			continue
		}
		if m.Input < 0 || m.Input >= int64(inputs) {
			return nil, fmt.Errorf("mount %s has input %d of %d: %w", m.Dest, m.Input, inputs, ErrUnknown)
		}
		if form >= FormV11 {
			m.addOld(&all[m.Input])
			continue
		}
		if err := m.add(&all[m.Input]); err != nil {
			return nil, err
		}
	}
	deps := make([]Dep, inputs)
	for i, dep := range all {
		deps[i] = dep.dep()
	}
	return deps, nil
}

// Values of Mount.ContentCache.
const (
	contentDefault = 0
	contentOn      = 1
	contentOff     = 2
)

func (m *Mount) add(dep *execDep) error {
	selector := path.Join("/", m.Selector)
	dep.selectors = append(dep.selectors, selector)
	dep.content = m.Output == NoOutput || m.Readonly || selector == "/"
	switch m.ContentCache {
	case contentOff:
		dep.content = false
	case contentOn:
		if !dep.content {
			return fmt.Errorf("mount %s can't be found by its content: %w", m.Dest, ErrUnknown)
		}
	case contentDefault:
		if m.Dest == "/" {
			dep.content = false
		}
	}
	return nil
}

// addOld does what versions before v0.13 did.
func (m *Mount) addOld(dep *execDep) {
	if m.Selector != "" {
		dep.selectors = append(dep.selectors, path.Join("/", m.Selector))
	}
	if (!m.Readonly || m.Dest == "/") && m.Output != NoOutput {
		dep.content = false
	}
}

func (d execDep) dep() Dep {
	var dep Dep
	if len(d.selectors) > 0 {
		dep.Selector = digest.FromString(strings.Join(d.selectors, "\x00"))
	}
	if !d.content {
		return dep
	}
	dep.Content = true
	for _, p := range dedupePaths(d.selectors) {
		if p == "" || p == "/" {
			dep.Paths = nil
			break
		}
		dep.Paths = append(dep.Paths, Selection{Path: p, FollowLinks: true})
	}
	return dep
}
