package layout

// Salvage is salvage, for tests.
var Salvage = salvage
