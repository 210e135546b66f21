// Package registrytest has registries that run in the process of a test: one that follows the distribution
// specification and refuses what distribution 3 refuses; a lenient one that accepts anything; strict ones that refuse
// caches with the statuses and words of Quay, Harbor, Amazon ECR and others; and faults that can be put in front of each
// of them.
//
// All of them are go-containerregistry's registry with rules around it. They listen on 127.0.0.1, keep what they are
// given in memory, and end with the test. The real registries are in scripts/registries.
package registrytest
