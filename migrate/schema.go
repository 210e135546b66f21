package migrate

import _ "embed"

//go:embed plan.schema.json
var schema []byte

// Schema returns the JSON schema of plans, for editors.
func Schema() []byte { return append([]byte(nil), schema...) }
