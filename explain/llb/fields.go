package llb

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Fields returns everything that enters an operation's key or selects files of
// its inputs, as names and values such as args[2], env.PATH, platform,
// actions[0].dest, so that two operations can be compared.
func (o *Op) Fields(builder Platform) map[string]string {
	f := fields{}
	switch {
	case o.Exec != nil:
		op := o.Exec.keyed(FormV17)
		env, mounts := op.Meta.Env, op.Mounts
		op.Meta.Env, op.Mounts = nil, nil
		f.addLimits(op)
		f.add("", op)
		f.addEnv(env)
		for i, m := range mounts {
			m.Selector = o.Exec.Mounts[i].Selector
			f.addMount(m)
		}
		f["platform"] = o.platform(builder).String()
	case o.File != nil:
		for i, a := range o.File.Actions {
			f.addAction("actions["+strconv.Itoa(i)+"]", a)
		}
	case o.Source != nil:
		f["identifier"] = o.Source.Identifier
		for name, value := range o.Source.Attrs {
			f[name] = value
		}
		if o.Source.IsImage() {
			f["platform"] = o.platform(builder).String()
		}
	case o.Merge != nil:
		f.add("", o.Merge)
	case o.Diff != nil:
		f.add("", o.Diff)
	case o.Build != nil:
		f.add("", o.Build)
	case o.Passthrough != nil:
		f.add("", o.Passthrough)
	}
	return f
}

type fields map[string]string

// add adds the members of a value's JSON.
func (f fields) add(prefix string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		return
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var decoded any
	if decoder.Decode(&decoded) == nil {
		f.flatten(prefix, decoded)
	}
}

func (f fields) flatten(prefix string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if prefix != "" && name != "meta" {
				name = prefix + "." + name
			}
			if name == "meta" {
				name = ""
			}
			f.flatten(name, value)
		}
	case []any:
		for i, value := range v {
			f.flatten(prefix+"["+strconv.Itoa(i)+"]", value)
		}
	case string:
		f[prefix] = v
	case json.Number:
		f[prefix] = v.String()
	case bool:
		f[prefix] = strconv.FormatBool(v)
	}
}

// addEnv adds variables by name. Their order counts too and gets a field of its own.
func (f fields) addEnv(env []string) {
	var names []string
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		f["env."+name] = value
		names = append(names, name)
	}
	f[EnvOrder] = strings.Join(names, " ")
}

// addLimits adds ulimits, network and security, spelled as on the command line, and removes them from the operation.
func (f fields) addLimits(op *ExecOp) {
	for _, u := range op.Meta.Ulimit {
		if u != nil {
			f["ulimit "+u.Name] = strconv.FormatInt(u.Soft, 10) + ":" + strconv.FormatInt(u.Hard, 10)
		}
	}
	op.Meta.Ulimit = nil
	for value, name := range map[int32]string{1: "host", 2: "none"} {
		if op.Network == value {
			f["network"], op.Network = name, 0
		}
	}
	if op.Security == 1 {
		f["security"], op.Security = "insecure", 0
	}
}

// addOwner adds the owner that files are given, spelled as in --chown.
func (f fields) addOwner(prefix string, c *ChownOpt) {
	if c == nil {
		return
	}
	f[prefix+".owner"] = c.User.name() + ":" + c.Group.name()
}

func (u *UserOpt) name() string {
	switch {
	case u == nil:
		return ""
	case u.ByName != nil:
		return u.ByName.Name
	default:
		return strconv.FormatUint(uint64(u.ByID), 10)
	}
}

// addMount adds a mount as one value, named by its destination. An ordinary root is left out.
func (f fields) addMount(m *Mount) {
	if m.isPlainRoot() {
		return
	}
	inner := fields{}
	inner.add("", m)
	delete(inner, "dest")
	parts := []string{"type=" + mountTypes[m.MountType]}
	for _, name := range slices.Sorted(maps.Keys(inner)) {
		if name != "mountType" {
			parts = append(parts, name+"="+inner[name])
		}
	}
	f["mount "+m.Dest] += strings.Join(parts, ",")
}

var mountTypes = map[int32]string{MountBind: "bind", MountSecret: "secret", MountSSH: "ssh", MountCache: "cache", MountTmpfs: "tmpfs"}

// EnvOrder is the field that lists the names of the variables in order.
const EnvOrder = "env order"

func (f fields) addAction(prefix string, a *FileAction) {
	f.addOwner(prefix, a.owner())
	switch {
	case a.Copy != nil:
		f[prefix] = "copy"
		action := *a.Copy
		action.Owner = nil
		f.add(prefix, action)
	case a.Mkfile != nil:
		f[prefix] = "mkfile"
		action := *a.Mkfile
		f[prefix+".data"] = string(action.Data)
		action.Data, action.Owner = nil, nil
		f.add(prefix, action)
	case a.Mkdir != nil:
		f[prefix] = "mkdir"
		action := *a.Mkdir
		action.Owner = nil
		f.add(prefix, action)
	case a.Rm != nil:
		f[prefix] = "rm"
		f.add(prefix, a.Rm)
	case a.Symlink != nil:
		f[prefix] = "symlink"
		action := *a.Symlink
		action.Owner = nil
		f.add(prefix, action)
	}
}
