package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// hint returns what probably helps against an error, or "". It goes by the error's type, never by its text.
func hint(err error) string {
	for _, find := range []func(error) string{hintUsage, hintArchive, hintPlace, hintImage, hintCache, hintRegistry, hintConnection, hintSystem} {
		if text := find(err); text != "" {
			return text
		}
	}
	return ""
}

func hintUsage(err error) string {
	var (
		notThere    *places.NotThereError
		notWritable *places.NotWritableError
		isFile      *places.IsFileError
		host        *places.HostError
		spelling    *layout.SpellingError
	)
	switch {
	case errors.As(err, &notWritable):
		return "archives are written as a whole: by 'ocicache pack', or one cache by copy or convert to oci-archive:FILE"
	case errors.As(err, &isFile):
		return "to replace it by an archive, say oci-archive:" + isFile.Path + " and --overwrite"
	case errors.As(err, &notThere) && notThere.Meant != "":
		return fmt.Sprintf("a bare path is never cut at a colon; did you mean %s?", notThere.Meant)
	case errors.As(err, &host):
		return fmt.Sprintf("did you mean docker://%s? a directory of that name would be ./%s", host.Path, host.Path)
	case errors.As(err, &spelling):
		return fmt.Sprintf("did you mean %s?", spelling.Meant)
	}
	return ""
}

// hintPlace is about finding a cache.
func hintPlace(err error) string {
	var (
		ambiguous *layout.AmbiguousError
		notFound  *layout.NotFoundError
		dangling  *layout.DanglingError
		locked    *layout.LockedError
		moved     *layout.TagMovedError
		taken     *layout.TakenError
	)
	switch {
	case errors.As(err, &ambiguous):
		return "choose one with --tag TAG or oci:DIR:TAG"
	case errors.As(err, &dangling):
		return hintDangling(dangling)
	case errors.As(err, &notFound):
		return hintNotFound(notFound)
	case errors.Is(err, layout.ErrNotLayout):
		return "a cache export is the directory that --cache-to type=local,dest=DIR was given"
	case errors.As(err, &locked):
		return "wait until the other process is done, or give --lock-timeout more time"
	case errors.As(err, &moved):
		return "another process wrote to the same tag; nothing of it was touched, run the command again"
	case errors.As(err, &taken) && taken.Want.IsImage():
		return "unpack to another DIR, or choose other tags with --tag"
	case errors.As(err, &taken):
		return "images are never overwritten; give the result another tag with oci:DIR:TAG"
	}
	return ""
}

func hintDangling(e *layout.DanglingError) string {
	if len(e.Unnamed) > 0 {
		return "one build that exports several local caches leaves such a tag; the unnamed root is probably the cache, " +
			"BuildKit can import it with digest=" + e.Unnamed[0].String()
	}
	return "export the cache again, in a build that exports no other local cache"
}

func hintNotFound(e *layout.NotFoundError) string {
	switch {
	case len(e.Unnamed) > 0:
		return "these cache roots lie there without a name: " + e.Unnamed[0].String() + "; BuildKit can import one with digest="
	case e.Inline:
		return "an image there carries an inline cache, which BuildKit imports from the image itself; 'ocicache extract' makes a cache of its own of it"
	case e.Images:
		return "export the cache with --cache-to type=local,dest=DIR,mode=max"
	case e.Tag == "":
		return "BuildKit writes no cache when a build has nothing to export"
	}
	return ""
}

// hintImage is about images with inline caches.
func hintImage(err error) string {
	var (
		noImage  *layout.NoImageError
		noInline *convert.NoInlineError
		inline   *buildcache.InlineError
	)
	switch {
	case errors.As(err, &noImage) && noImage.Cache:
		return "it needs no extracting: 'ocicache copy' and 'ocicache convert' take it as it is"
	case errors.As(err, &noImage) && len(noImage.Tags) > 0:
		return "choose an image with --tag TAG or oci:DIR:TAG"
	case errors.As(err, &noInline):
		return "build and push the image with --cache-to type=inline (buildctl: --export-cache type=inline)"
	case errors.As(err, &inline):
		return "BuildKit imports nothing from this image either; build it again with --cache-to type=inline"
	}
	return ""
}

// hintArchive is about archives.
func hintArchive(err error) string {
	var (
		missing *archive.MissingError
		exists  *archive.ExistsError
	)
	switch {
	case errors.As(err, &missing) && missing.Base == "":
		return "nothing was published; unpack the archives before this one first, or name a layout, an archive or a repository that has the " +
			"blobs with --base; else pack again without --have"
	case errors.As(err, &missing):
		return "nothing was published; unpack the archives before this one first, or pack again without --have"
	case errors.As(err, &exists) && exists.Overwrite:
		return "only FILE itself, and volumes that a whole FILE.SHA256SUMS proves to be ours, are replaced, each by its like or volumes by " +
			"FILE; move these away, or choose another FILE"
	case errors.As(err, &exists):
		return "--overwrite replaces them, where they are an archive of that name"
	case errors.Is(err, archive.ErrTag):
		return "give them tags first, or choose one that has a tag with --tag or oci:DIR:TAG"
	case errors.Is(err, archive.ErrRequired):
		return "the archive was packed without what the far side has; name that with --base: a layout, an archive or a repository"
	case errors.Is(err, archive.ErrStream):
		return "'ocicache unpack' takes it; for everything else unpack or decompress it first"
	case errors.Is(err, archive.ErrTooLarge):
		return "if it is to be trusted, decompress it in a pipe: zstd -dc FILE | ocicache unpack - DIR"
	case errors.Is(err, archive.ErrTruncated):
		return "no tag was moved; copy the archive again from where it is whole"
	case errors.Is(err, archive.ErrReceipt):
		return "a receipt counts only as 'ocicache unpack --receipt' wrote it"
	}
	return ""
}

// hintCache is about what is in a cache.
func hintCache(err error) string {
	var (
		proof  *convert.ProofError
		diffID *convert.DiffIDError
		blob   *layout.BlobError
		size   *buildcache.SizeError
	)
	switch {
	case errors.As(err, &proof):
		return "nothing was published; " + proof.Problems[0].Remedy + " ('ocicache verify' lists everything)"
	case errors.As(err, &diffID):
		return "the layer was broken when it was exported: " + buildcache.LayerDiffID.Info().Remedy
	case errors.As(err, &blob) && isBlobFault(blob):
		return buildcache.BlobDamaged.Info().Remedy + "; 'ocicache verify' lists all damage"
	case errors.As(err, &size):
		return buildcache.RootTooLarge.Info().Remedy
	}
	return ""
}

func isBlobFault(err error) bool {
	return errors.Is(err, layout.ErrBlobMissing) || errors.Is(err, layout.ErrBlobSize) || errors.Is(err, layout.ErrBlobDamaged)
}

// hintSystem is about the machine, and about this program.
func hintSystem(err error) string {
	var caught *parallel.PanicError
	var output *outputError
	switch {
	case errors.As(err, &caught):
		return "please report this with the command and what 'ocicache version' says; no tag was moved to something that was not proved"
	case errors.As(err, &output):
		return "what the result tells of was done; only the telling failed"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "the disk is full; nothing was published, run it again when there is room"
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return "this user has no permission there; a source that can only be read can be converted to a DST"
	}
	return ""
}

// hintRegistry is about what a registry says.
func hintRegistry(err error) string {
	var (
		refused   *registry.RefusedError
		preflight *convert.PreflightError
		unknown   *unknownProfileError
		auth      *registry.AuthError
	)
	switch {
	case errors.As(err, &refused):
		return refused.NextStep
	case errors.As(err, &preflight):
		return "nothing was written; --no-preflight pushes all the same"
	case errors.As(err, &unknown):
		return "'ocicache registries' lists the names"
	case errors.As(err, &auth) && auth.CredsStore != "":
		return fmt.Sprintf("Docker keeps its credentials in the store %q, which is not asked; name it for this registry with "+
			`"credHelpers": {%q: %q}, or use --creds or --authfile`, auth.CredsStore, auth.Host, auth.CredsStore)
	case errors.As(err, &auth):
		return "log in with 'skopeo login', 'podman login' or 'docker login', or use --creds, --authfile or --registry-token"
	}
	return ""
}

// hintConnection is about getting to a registry.
func hintConnection(err error) string {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return "the registry speaks plain HTTP; --tls-verify=false allows that (--src-tls-verify, --dest-tls-verify where both ends are registries)"
	case errors.As(err, &authority), errors.As(err, &hostname):
		return "put the registry's CA certificate as ca.crt into a directory and name it with --cert-dir; --tls-verify=false trusts anybody"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there; is the port right?"
	}
	return ""
}
