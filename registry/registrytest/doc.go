// Package registrytest has registries for tests, in the process of the test: a real one, distribution v3; a lenient
// one that accepts anything; strict ones that refuse caches with the statuses and words of Quay, Harbor, Amazon ECR and
// others; and faults that can be put in front of each of them.
//
// All of them listen on 127.0.0.1, keep what they are given in the test's temporary directory or in memory, and end
// with the test.
package registrytest
