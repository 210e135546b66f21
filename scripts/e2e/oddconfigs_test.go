//go:build e2e

package e2e

import (
	"maps"
	"slices"
	"testing"
)

// What is odd about the config's layers.
var placeVariations = []variation{
	{name: "parent 0 said", effect: whole, edit: eachPlace(func(t *testing.T, place jsonObject) {
		t.Helper()
		place["parent"] = number(t, place["parent"])
	})},
	{name: "no parent not said", effect: hitsLost, edit: eachPlace(func(t *testing.T, place jsonObject) {
		t.Helper()
		if number(t, place["parent"]) == -1 {
			delete(place, "parent")
		}
	})},
	{name: "parents in a loop", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		at, place := d.placeOf(t, d.leaf(t))
		place["parent"] = at
	}},
	{name: "parents in a loop that nothing needs", effect: whole, edit: func(t *testing.T, d *draft) { d.addLoop(t) }},
	{name: "parent out of range", effect: hitsLost, edit: leafPlace(set("parent", 999))},
	{name: "parent below -1", effect: hitsLost, edit: leafPlace(set("parent", -2))},
	{name: "parent out of range that nothing needs", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		at := d.addPlace(t, d.leaf(t)["digest"])
		d.places(t)[at]["parent"] = 999
	}},
	{name: "layer not renamed", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		l := d.leaf(t)
		d.put(t, l, namedGzip(t, gunzipped(t, d.read(t, l))))
	}},
	{name: "places in another order", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		places := d.places(t)
		last := len(places) - 1
		for _, place := range places {
			if parent := number(t, place["parent"]); parent >= 0 {
				place["parent"] = last - parent
			}
		}
		slices.Reverse(places)
		d.config["layers"] = list(places...)
		d.eachResult(t, func(r, result jsonObject) { result["layer"] = last - number(t, result["layer"]) })
	}},
}

func eachPlace(c change) edit {
	return func(t *testing.T, d *draft) {
		t.Helper()
		for _, place := range d.places(t) {
			c(t, place)
		}
	}
}

// addLoop adds a place that is its own parent.
func (d *draft) addLoop(t *testing.T) int {
	t.Helper()
	at := d.addPlace(t, d.leaf(t)["digest"])
	d.places(t)[at]["parent"] = at
	return at
}

// eachResult calls fn with every result and its record.
func (d *draft) eachResult(t *testing.T, fn func(r, result jsonObject)) {
	t.Helper()
	for _, r := range d.records(t) {
		if r["layers"] != nil {
			fn(r, objects(t, r["layers"])[0])
		}
	}
}

// What is odd about the config's records. Of a record's results that the root
// has all layers for BuildKit takes the newest, whole or not.
var recordVariations = []variation{
	{name: "result on no layer", effect: hitsLost, edit: leafRecord(set("layers", list(resultOn(999, past))))},
	{name: "result on layer -1", effect: hitsLost, edit: leafRecord(set("layers", list(resultOn(-1, past))))},
	{name: "result without a time", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.eachResult(t, func(_, result jsonObject) { delete(result, "createdAt") })
	}},
	{name: "result at no time", effect: hitsLost, edit: leafRecord(set("layers", list(resultOn(0, "yesterday"))))},
	{name: "older result too", effect: whole, edit: secondResult(past, func(*testing.T, *draft, jsonObject) {})},
	{name: "newer result too", effect: whole, edit: secondResult(future, func(*testing.T, *draft, jsonObject) {})},
	{name: "older result unlisted", effect: whole, edit: secondResult(past, unlist)},
	{name: "newer result unlisted", effect: whole, edit: secondResult(future, unlist)},
	{name: "newer result missing", effect: hitsLost, edit: secondResult(future, removeBlob)},
	{name: "newer result without diffid", effect: hitsLost, edit: secondResult(future, bare)},
	{name: "chains instead of layers", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		places := d.places(t)
		d.eachResult(t, func(r, result jsonObject) {
			var chain []int
			for i := number(t, result["layer"]); i >= 0; i = number(t, places[i]["parent"]) {
				chain = append(chain, i)
			}
			slices.Reverse(chain)
			r["chains"] = list(jsonObject{"layers": chain, "createdAt": result["createdAt"]})
			delete(r, "layers")
		})
	}},
	{name: "chain of nothing", effect: whole, edit: record(unlinked("chains", list(jsonObject{"layers": []int{}, "createdAt": past})))},
	{
		name: "chain on no layer", effect: hitsLost,
		edit: record(unlinked("chains", list(jsonObject{"layers": []int{999}, "createdAt": past}))),
	},

	{name: "link out of range", effect: hitsLost, edit: record(unlinked("inputs", []any{input(9999)}))},
	{name: "link -1", effect: hitsLost, edit: record(unlinked("inputs", []any{input(-1)}))},
	{name: "input without alternatives", effect: hitsLost, edit: record(unlinked("inputs", []any{[]any{}}))},
	{name: "input null", effect: hitsLost, edit: record(unlinked("inputs", []any{nil}))},
	{name: "no inputs said", effect: whole, edit: record(unlinked("inputs", []any{}))},
	{name: "records in a loop", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		n := len(d.records(t))
		d.addRecord(t, unlinked("inputs", []any{input(n + 1)}))
		d.addRecord(t, unlinked("inputs", []any{input(n)}))
	}},
	{name: "record that links to itself", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.addRecord(t, unlinked("inputs", []any{input(len(d.records(t)))}))
	}},
	{name: "records twice", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		for n, r := range d.records(t) {
			d.addRecord(t, d.moved(t, r, len(d.records(t))-n))
		}
	}},
	{name: "record null", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.config["records"] = append(list(d.records(t)...), nil)
	}},

	{name: "random record", effect: whole, edit: record(random(resultOn(0, past)))},
	{name: "random record linked", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.sources(t)[0]["digest"] = "random:x"
	}},
	{name: "random record on no layer", effect: hitsLost, edit: record(random(resultOn(999, past)))},
	{name: "random record on a loop", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.addRecord(t, random(resultOn(d.addLoop(t), past)))
	}},
	{name: "random record on an unlisted layer", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		d.addRecord(t, random(resultOn(d.addPlace(t, nowhere), past)))
	}},
	{name: "random record on a missing layer", effect: whole, edit: unneeded(func(t *testing.T, d *draft, l jsonObject) {
		t.Helper()
		d.addRecord(t, random(resultOn(d.addPlace(t, l["digest"]), past)))
		d.remove(t, l)
	})},

	{name: "record without a digest", effect: hitsLost, edit: leafRecord(unset("digest"))},
	{name: "record with a malformed digest", effect: hitsLost, edit: leafRecord(set("digest", "sha256:abc"))},
	// Others do in its place.
	{name: "source without a digest", effect: whole, edit: func(t *testing.T, d *draft) {
		t.Helper()
		delete(d.sources(t)[0], "digest")
	}},
	{name: "sources without a digest", effect: hitsLost, edit: func(t *testing.T, d *draft) {
		t.Helper()
		for _, r := range d.sources(t) {
			delete(r, "digest")
		}
	}},
}

func unlist(t *testing.T, d *draft, l jsonObject) {
	t.Helper()
	unlisted(func(*testing.T, *draft) jsonObject { return l })(t, d)
}

func removeBlob(t *testing.T, d *draft, l jsonObject) { t.Helper(); d.remove(t, l) }

func bare(_ *testing.T, _ *draft, l jsonObject) { delete(l, "annotations") }

// random is a record that BuildKit drops.
func random(result jsonObject) jsonObject {
	return jsonObject{"digest": "random:x", "layers": list(result)}
}

// moved copies a record and lets it link to those so many places further on.
func (d *draft) moved(t *testing.T, r jsonObject, by int) jsonObject {
	t.Helper()
	r = maps.Clone(r)
	inputs, ok := r["inputs"].([]any)
	if !ok {
		return r
	}
	slots := make([]any, len(inputs))
	for i, slot := range inputs {
		var alternatives []jsonObject
		for _, in := range objects(t, slot) {
			in = maps.Clone(in)
			in["link"] = number(t, in["link"]) + by
			alternatives = append(alternatives, in)
		}
		slots[i] = list(alternatives...)
	}
	r["inputs"] = slots
	return r
}
