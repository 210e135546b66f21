// Package inspect walks over caches without changing anything: Summarize says what is in one, Verify what is wrong with
// it. Both work on any layout.Source.
package inspect
