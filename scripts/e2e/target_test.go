//go:build e2e

package e2e

// form and compression are spelled as the command line spells them;
// BuildKit's own options name the compressions alike.
type (
	form        string
	compression string
)

const (
	dockerList form = "docker-list"
	ociIndex   form = "oci-index"
	artifact   form = "artifact"

	uncompressed compression = "uncompressed"
	gzip         compression = "gzip"
	zstd         compression = "zstd"
	estargz      compression = "estargz"
)

var (
	forms        = []form{dockerList, ociIndex, artifact}
	compressions = []compression{uncompressed, gzip, zstd, estargz}
)

// target is what a cache is converted to.
type target struct {
	Form        form
	Compression compression
}

func (t target) String() string { return string(t.Form) + "+" + string(t.Compression) }

// flags are the target's flags for ocicache convert.
func (t target) flags() []string {
	return []string{"--to", string(t.Form), "--compression", string(t.Compression)}
}

// nthTarget counts through all pairs: three forms and four compressions have
// no common divisor.
func nthTarget(n int) target {
	return target{forms[n%len(forms)], compressions[n%len(compressions)]}
}

func allTargets() []target {
	targets := make([]target, len(forms)*len(compressions))
	for n := range targets {
		targets[n] = nthTarget(n)
	}
	return targets
}
