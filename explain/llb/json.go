package llb

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// jsonKinds has the members that BuildKit's JSON uses for the kinds of operations.
type jsonKinds struct {
	Exec        *ExecOp        `json:"exec,omitempty"`
	Source      *SourceOp      `json:"source,omitempty"`
	File        *FileOp        `json:"file,omitempty"`
	Build       *BuildOp       `json:"build,omitempty"`
	Merge       *MergeOp       `json:"merge,omitempty"`
	Diff        *DiffOp        `json:"diff,omitempty"`
	Passthrough *PassthroughOp `json:"passthrough,omitempty"`
}

// MarshalJSON writes the operation as BuildKit does in provenance, but without
// the inputs and constraints, which an Op does not have.
func (o *Op) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Op       jsonKinds
		Platform *Platform `json:"platform,omitempty"`
	}{
		Op:       jsonKinds{o.Exec, o.Source, o.File, o.Build, o.Merge, o.Diff, o.Passthrough},
		Platform: o.Platform,
	})
}

// UnmarshalJSON reads an operation from provenance. An operation or a member
// that it does not know, as from a newer BuildKit, is no error: the operation
// becomes an unknown one.
func (o *Op) UnmarshalJSON(data []byte) error {
	var raw struct {
		Op          json.RawMessage
		Platform    *Platform       `json:"platform"`
		Constraints json.RawMessage `json:"constraints"` // which worker may run it
		Inputs      json.RawMessage `json:"inputs"`      // in provenance they stand beside the operation
	}
	strange := isStrange(unmarshalStrictly(data, &raw))
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*o = Op{Platform: raw.Platform}
	if len(raw.Op) == 0 {
		return nil
	}
	var kinds jsonKinds
	switch err := unmarshalStrictly(raw.Op, &kinds); {
	case strange || isStrange(err):
		o.Unknown = cmp.Or(unknownKind(raw.Op), "unknown")
		return nil
	case err != nil:
		return fmt.Errorf("operation: %w", err)
	}
	o.Exec, o.Source, o.File, o.Build = kinds.Exec, kinds.Source, kinds.File, kinds.Build
	o.Merge, o.Diff, o.Passthrough = kinds.Merge, kinds.Diff, kinds.Passthrough
	return o.validate()
}

// unmarshalStrictly fails on a JSON member that the value has no field for, because its effect on the key is unknown.
func unmarshalStrictly(data []byte, to any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(to)
}

// isStrange reports whether an error is about an unknown member. Package json has no error type for it.
func isStrange(err error) bool {
	return err != nil && strings.Contains(err.Error(), "json: unknown field ")
}

// unknownKind returns the name of an unknown operation's kind, or "".
func unknownKind(raw []byte) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || len(members) == 0 {
		return ""
	}
	return slices.Sorted(maps.Keys(members))[0]
}

// validate rejects what BuildKit would never have run, so that later code need not check again.
func (o *Op) validate() error {
	switch {
	case o.Exec != nil:
		return o.Exec.validate()
	case o.File != nil:
		if slices.Contains(o.File.Actions, nil) {
			return fmt.Errorf("file operation: an action is null")
		}
	case o.Merge != nil:
		if slices.Contains(o.Merge.Inputs, nil) {
			return fmt.Errorf("merge operation: an input is null")
		}
	case o.Diff != nil:
		if o.Diff.Lower == nil || o.Diff.Upper == nil {
			return fmt.Errorf("diff operation: an input is null")
		}
	}
	return nil
}

func (e *ExecOp) validate() error {
	if e.Meta == nil {
		return fmt.Errorf("exec operation: no meta")
	}
	if slices.Contains(e.Mounts, nil) {
		return fmt.Errorf("exec operation: a mount is null")
	}
	if slices.Contains(e.Meta.ExtraHosts, nil) {
		return fmt.Errorf("exec operation: a host is null")
	}
	return nil
}

type jsonFileAction struct {
	Input          int64 `json:"input"`
	SecondaryInput int64 `json:"secondaryInput"`
	Output         int64 `json:"output"`
	Action         struct {
		Copy   *CopyAction   `json:"copy,omitempty"`
		Mkfile *MkfileAction `json:"mkfile,omitempty"`
		Mkdir  *MkdirAction  `json:"mkdir,omitempty"`
		Rm     *RmAction     `json:"rm,omitempty"`
	}
}

// MarshalJSON writes the action as BuildKit does: a symlink becomes an action
// without a name.
func (a *FileAction) MarshalJSON() ([]byte, error) {
	j := jsonFileAction{Input: a.Input, SecondaryInput: a.SecondaryInput, Output: a.Output}
	j.Action.Copy, j.Action.Mkfile, j.Action.Mkdir, j.Action.Rm = a.Copy, a.Mkfile, a.Mkdir, a.Rm
	return json.Marshal(j)
}

// UnmarshalJSON reads an action.
func (a *FileAction) UnmarshalJSON(data []byte) error {
	var j jsonFileAction
	if err := unmarshalStrictly(data, &j); err != nil {
		return err
	}
	*a = FileAction{
		Input: j.Input, SecondaryInput: j.SecondaryInput, Output: j.Output,
		Copy: j.Action.Copy, Mkfile: j.Action.Mkfile, Mkdir: j.Action.Mkdir, Rm: j.Action.Rm,
	}
	return nil
}

type jsonUserOpt struct {
	User struct {
		ByName *NamedUserOpt `json:"byName,omitempty"`
		ByID   uint32        `json:"byId,omitempty"`
	}
}

// MarshalJSON writes the user as BuildKit does.
func (u *UserOpt) MarshalJSON() ([]byte, error) {
	var j jsonUserOpt
	j.User.ByName, j.User.ByID = u.ByName, u.ByID
	return json.Marshal(j)
}

// UnmarshalJSON reads a user.
func (u *UserOpt) UnmarshalJSON(data []byte) error {
	var j jsonUserOpt
	if err := unmarshalStrictly(data, &j); err != nil {
		return err
	}
	u.ByName, u.ByID = j.User.ByName, j.User.ByID
	if u.ByName != nil {
		u.ByID = 0
	}
	return nil
}
