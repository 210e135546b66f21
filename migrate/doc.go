// Package migrate brings caches from many places to many others, unattended: a plan says which, several processes can share the work
// in shards, and a state says what became of each cache, so that a later run continues from there.
//
// Processes share nothing but the registries. They look there for what has arrived, so that a shard that runs twice at once, or again
// after it was killed, loses nothing and sends nothing twice.
//
// Both this package and package registry can give up a registry (Options.GiveUp there, which stays 0 here). There a request ends when a
// registry that is up refuses it (429, 503), judging by the answers to that request. Here caches also wait for one that can't be reached;
// what decides is what no request can know: whether anything else got through in the whole run, and whether the registry answers when
// asked.
package migrate
