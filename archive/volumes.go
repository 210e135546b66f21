package archive

import "github.com/ocicache/ocicache/internal/volumes"

// VolumesError lists what is missing or damaged of an archive in volumes, where that is more than can be rebuilt.
type VolumesError = volumes.LostError

// VolumeProblem says what is wrong with a volume, a recovery volume or the list of them.
type VolumeProblem = volumes.Problem

// ExistsError says that names are taken that an archive needs, and lists them.
type ExistsError = volumes.ExistsError

// NameError says that an archive can't be called so, because it would be read as a volume of another one.
type NameError = volumes.NameError

// ErrSplit says that an archive can't be split as was asked for. Nothing has been written then.
var ErrSplit = volumes.ErrSplit

// What can be wrong with a volume: a *VolumesError wraps these.
var (
	ErrVolumeMissing = volumes.ErrMissing
	ErrVolumeDamaged = volumes.ErrDamaged
	ErrVolumeForeign = volumes.ErrForeign
)

// ErrVolumesMixed says that files were named together, or lie together, that belong to different archives.
var ErrVolumesMixed = volumes.ErrMixed
