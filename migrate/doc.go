// Package migrate brings caches from many places to many others, unattended: what a plan names, in shards where several
// processes share the work, with a state that says of each cache what became of it, and that a later run goes on from.
//
// The registries are all that processes share. What is there is found there, so that a shard that runs twice at once, or after it
// was killed, loses nothing and sends nothing that has arrived.
package migrate
