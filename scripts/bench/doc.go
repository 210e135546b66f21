// Package bench measures what takes too long for the tests: the memory and speed of recompressing one huge layer.
//
//	go test -run '^$' -bench . -benchtime 1x -timeout 30m ./scripts/bench
//
// It needs about 5 GB in the directory for temporary files. Each conversion runs in its own process, whose peak
// memory the benchmark prints, and fails above its limit.
package bench
