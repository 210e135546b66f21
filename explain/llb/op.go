// Package llb holds BuildKit's operations as values and computes the cache keys
// that BuildKit makes of them: the key of the operation itself, and for each of
// its inputs the selector and the files that its content key is made of.
//
// It deals with neither caches nor files. The formats are those of BuildKit's
// packages solver/pb and solver/llbsolver/ops, v0.8 to v0.34. A struct here has
// the fields of its namesake there, in the same order and with the same names in
// JSON, because a cache key is the hash of that JSON.
package llb

// Op is one operation: what one vertex of a build does. One of the pointers is
// set, or none: the last vertex of a build does nothing but name its result.
type Op struct {
	Exec        *ExecOp
	Source      *SourceOp
	File        *FileOp
	Build       *BuildOp
	Merge       *MergeOp
	Diff        *DiffOp
	Passthrough *PassthroughOp
	Platform    *Platform
	// Unknown is the kind of an operation that this package does not know, or "unknown". Such an operation has no key.
	Unknown string
}

// IsResult reports whether the operation does nothing but name its input as a result.
func (o *Op) IsResult() bool { return o.Kind() == "" }

// Kind returns the name of the operation as BuildKit's JSON has it, and "" for
// one that names a result.
func (o *Op) Kind() string {
	switch {
	case o.Exec != nil:
		return "exec"
	case o.Source != nil:
		return "source"
	case o.File != nil:
		return "file"
	case o.Build != nil:
		return "build"
	case o.Merge != nil:
		return "merge"
	case o.Diff != nil:
		return "diff"
	case o.Passthrough != nil:
		return "passthrough"
	default:
		return o.Unknown
	}
}

// Platform is what an operation runs on.
type Platform struct {
	Architecture string   `json:"Architecture,omitempty"`
	OS           string   `json:"OS,omitempty"`
	Variant      string   `json:"Variant,omitempty"`
	OSVersion    string   `json:"OSVersion,omitempty"`
	OSFeatures   []string `json:"OSFeatures,omitempty"`
}

// ExecOp runs a command.
type ExecOp struct {
	Meta       *Meta        `json:"meta,omitempty"`
	Mounts     []*Mount     `json:"mounts,omitempty"`
	Network    int32        `json:"network,omitempty"`
	Security   int32        `json:"security,omitempty"`
	Secretenv  []*SecretEnv `json:"secretenv,omitempty"`
	CDIDevices []*CDIDevice `json:"cdiDevices,omitempty"`
}

// Meta is the command and what surrounds it.
type Meta struct {
	Args                      []string  `json:"args,omitempty"`
	Env                       []string  `json:"env,omitempty"`
	Cwd                       string    `json:"cwd,omitempty"`
	User                      string    `json:"user,omitempty"`
	ProxyEnv                  *ProxyEnv `json:"proxy_env,omitempty"`
	ExtraHosts                []*HostIP `json:"extraHosts,omitempty"`
	Hostname                  string    `json:"hostname,omitempty"`
	Ulimit                    []*Ulimit `json:"ulimit,omitempty"`
	CgroupParent              string    `json:"cgroupParent,omitempty"`
	RemoveMountStubsRecursive bool      `json:"removeMountStubsRecursive,omitempty"`
	ValidExitCodes            []int32   `json:"validExitCodes,omitempty"`
}

// ProxyEnv has the proxies of a command. They enter no cache key.
type ProxyEnv struct {
	HTTPProxy  string `json:"http_proxy,omitempty"`
	HTTPSProxy string `json:"https_proxy,omitempty"`
	FTPProxy   string `json:"ftp_proxy,omitempty"`
	NoProxy    string `json:"no_proxy,omitempty"`
	AllProxy   string `json:"all_proxy,omitempty"`
}

// HostIP is a line of /etc/hosts. The IP enters no cache key.
type HostIP struct {
	Host string `json:"Host,omitempty"`
	IP   string `json:"IP,omitempty"`
}

// Ulimit is one limit of a command.
type Ulimit struct {
	Name string `json:"Name,omitempty"`
	Soft int64  `json:"Soft,omitempty"`
	Hard int64  `json:"Hard,omitempty"`
}

// SecretEnv is a secret that a command sees in its environment.
type SecretEnv struct {
	ID       string `json:"ID,omitempty"`
	Name     string `json:"name,omitempty"`
	Optional bool   `json:"optional,omitempty"`
}

// CDIDevice is a device that a command sees.
type CDIDevice struct {
	Name     string `json:"name,omitempty"`
	Optional bool   `json:"optional,omitempty"`
}

// The types of mounts.
const (
	MountBind   = 0
	MountSecret = 1
	MountSSH    = 2
	MountCache  = 3
	MountTmpfs  = 4
)

// Indexes that mean no input and no output.
const (
	NoInput  = -1
	NoOutput = -1
)

// Mount is something that a command sees in its file system; the root is one of
// them.
type Mount struct {
	Input        int64      `json:"input,omitempty"`
	Selector     string     `json:"selector,omitempty"`
	Dest         string     `json:"dest,omitempty"`
	Output       int64      `json:"output,omitempty"`
	Readonly     bool       `json:"readonly,omitempty"`
	MountType    int32      `json:"mountType,omitempty"`
	TmpfsOpt     *TmpfsOpt  `json:"TmpfsOpt,omitempty"`
	CacheOpt     *CacheOpt  `json:"cacheOpt,omitempty"`
	SecretOpt    *SecretOpt `json:"secretOpt,omitempty"`
	SSHOpt       *SecretOpt `json:"SSHOpt,omitempty"`
	ResultID     string     `json:"resultID,omitempty"`
	ContentCache int32      `json:"contentCache,omitempty"`
}

// TmpfsOpt limits a tmpfs mount, in bytes.
type TmpfsOpt struct {
	Size int64 `json:"size,omitempty"`
}

// CacheOpt says which cache mount is meant.
type CacheOpt struct {
	ID      string `json:"ID,omitempty"`
	Sharing int32  `json:"sharing,omitempty"`
}

// SecretOpt says which secret, or which SSH agent, is meant, and what its file
// is like.
type SecretOpt struct {
	ID       string `json:"ID,omitempty"`
	UID      uint32 `json:"uid,omitempty"`
	GID      uint32 `json:"gid,omitempty"`
	Mode     uint32 `json:"mode,omitempty"`
	Optional bool   `json:"optional,omitempty"`
}

// SourceOp takes files from elsewhere: an image, the build context, a repository.
type SourceOp struct {
	Identifier string            `json:"identifier,omitempty"`
	Attrs      map[string]string `json:"attrs,omitempty"`
}

// FileOp copies, makes and removes files.
type FileOp struct {
	Actions []*FileAction `json:"actions,omitempty"`
}

// FileAction is one thing that a FileOp does. Its indexes refer to the
// operation's inputs or, from the number of inputs on, to earlier actions. One of
// the pointers is set, or none for an unknown action, such as every symlink in
// provenance, whose JSON has no member for it.
type FileAction struct {
	Input          int64
	SecondaryInput int64
	Output         int64
	Copy           *CopyAction
	Mkfile         *MkfileAction
	Mkdir          *MkdirAction
	Rm             *RmAction
	Symlink        *SymlinkAction
}

// CopyAction copies Src of the secondary input over the input.
type CopyAction struct {
	Src                              string    `json:"src,omitempty"`
	Dest                             string    `json:"dest,omitempty"`
	Owner                            *ChownOpt `json:"owner,omitempty"`
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

// MkfileAction makes a file.
type MkfileAction struct {
	Path      string    `json:"path,omitempty"`
	Mode      int32     `json:"mode,omitempty"`
	Data      []byte    `json:"data,omitempty"`
	Owner     *ChownOpt `json:"owner,omitempty"`
	Timestamp int64     `json:"timestamp,omitempty"`
}

// SymlinkAction makes a symbolic link.
type SymlinkAction struct {
	Oldpath   string    `json:"oldpath,omitempty"`
	Newpath   string    `json:"newpath,omitempty"`
	Owner     *ChownOpt `json:"owner,omitempty"`
	Timestamp int64     `json:"timestamp,omitempty"`
}

// MkdirAction makes a directory.
type MkdirAction struct {
	Path        string    `json:"path,omitempty"`
	Mode        int32     `json:"mode,omitempty"`
	MakeParents bool      `json:"makeParents,omitempty"`
	Owner       *ChownOpt `json:"owner,omitempty"`
	Timestamp   int64     `json:"timestamp,omitempty"`
}

// RmAction removes files.
type RmAction struct {
	Path          string `json:"path,omitempty"`
	AllowNotFound bool   `json:"allowNotFound,omitempty"`
	AllowWildcard bool   `json:"allowWildcard,omitempty"`
}

// ChownOpt says who is to own files.
type ChownOpt struct {
	User  *UserOpt `json:"user,omitempty"`
	Group *UserOpt `json:"group,omitempty"`
}

// UserOpt is a user or a group: by name where that is set, else by ID.
type UserOpt struct {
	ByName *NamedUserOpt
	ByID   uint32
}

// NamedUserOpt is a name to be looked up in the files of an input.
type NamedUserOpt struct {
	Name  string `json:"name,omitempty"`
	Input int64  `json:"input,omitempty"`
}

// MergeOp lays its inputs over one another.
type MergeOp struct {
	Inputs []*InputRef `json:"inputs,omitempty"`
}

// InputRef is the index of an input.
type InputRef struct {
	Input int64 `json:"input,omitempty"`
}

// DiffOp takes the changes from its lower input to its upper one.
type DiffOp struct {
	Lower *InputRef `json:"lower,omitempty"`
	Upper *InputRef `json:"upper,omitempty"`
}

// BuildOp runs a build whose definition is in the files of an input.
type BuildOp struct {
	Builder int64                `json:"builder,omitempty"`
	Inputs  map[string]*InputRef `json:"inputs,omitempty"`
	// Def is set if the operation carries the definition itself. BuildKit has no use for that, and no cache has been seen with one.
	Def   *struct{}         `json:"def,omitempty"`
	Attrs map[string]string `json:"attrs,omitempty"`
}

// PassthroughOp passes inputs on as outputs.
type PassthroughOp struct {
	ID      string  `json:"id,omitempty"`
	Outputs []int64 `json:"outputs,omitempty"`
}
