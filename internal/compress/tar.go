package compress

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"
)

// blockSize is the block size of a tar, in bytes.
const blockSize = 512

// CheckTar reads a layer to its end and fails where BuildKit would fail to extract it: if a header can't be read or the
// bytes of a file are missing. As for BuildKit, a tar needs no end marker, and what follows one does not matter. It
// returns the digest of the table of contents, which an estargz layer has there or as its last file; "" for none.
func CheckTar(r io.Reader) (toc digest.Digest, err error) {
	entries := tar.NewReader(r)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && header.Name == estargz.TOCTarName {
			toc, err = sumEntry(entries)
		}
		if err != nil {
			return "", fmt.Errorf("read tar: %w", err)
		}
	}
	behind, err := tocBehind(r)
	if behind != "" {
		toc = behind
	}
	return toc, err
}

// tocBehind reads what follows a tar, and returns the digest of the table of contents if that is one.
func tocBehind(r io.Reader) (toc digest.Digest, err error) {
	block := make([]byte, blockSize)
	for len(bytes.TrimLeft(block, "\x00")) == 0 {
		if _, err := io.ReadFull(r, block); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "", nil
		} else if err != nil {
			return "", err
		}
	}
	entries := tar.NewReader(io.MultiReader(bytes.NewReader(block), r))
	if header, err := entries.Next(); err == nil && header.Name == estargz.TOCTarName {
		if sum, err := sumEntry(entries); err == nil {
			toc = sum
		}
	}
	_, err = io.Copy(io.Discard, r)
	return toc, err
}

func sumEntry(r io.Reader) (digest.Digest, error) {
	hash := sha256.New()
	_, err := io.Copy(hash, r)
	return digest.NewDigest(digest.SHA256, hash), err
}
