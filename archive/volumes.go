package archive

import "github.com/ocicache/ocicache/internal/volumes"

// VolumesError lists which volumes of an archive are missing or damaged, if they are more than can be rebuilt.
type VolumesError = volumes.LostError

// VolumeProblem says what is wrong with a volume, a recovery volume or the list of them.
type VolumeProblem = volumes.Problem

// ExistsError says that names which an archive needs are taken, and lists them.
type ExistsError = volumes.ExistsError

// NameError says that an archive can't have a name, because it would be read as a volume of another one.
type NameError = volumes.NameError

// ErrSplit says that an archive can't be split as asked. Nothing was written.
var ErrSplit = volumes.ErrSplit

// What can be wrong with a volume: a *VolumesError wraps these.
var (
	ErrVolumeMissing = volumes.ErrMissing
	ErrVolumeDamaged = volumes.ErrDamaged
	ErrVolumeForeign = volumes.ErrForeign
)

// ErrVolumesMixed says that files that were named together, or lie together, belong to different archives.
var ErrVolumesMixed = volumes.ErrMixed
