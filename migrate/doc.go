// Package migrate brings caches from many places to many others, unattended: what a plan names, in shards where several
// processes share the work, with a state that says of each cache what became of it, and that a later run goes on from.
//
// The registries are all that processes share. What is there is found there, so that a shard that runs twice at once, or after it
// was killed, loses nothing and sends nothing that has arrived.
//
// A registry is given up here as well as in package registry (Options.GiveUp, which stays 0 here). There a request ends that a registry refuses
// which is there (429, 503), by what its own answers show; here caches also wait for one that can't be reached, and what else got through in the
// whole run decides, and whether it is there when it is asked, which no request can know.
package migrate
