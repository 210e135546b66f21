package llb

import "strings"

// ParsePlatform reads a platform as BuildKit writes it in provenance, such as
// linux/arm/v7. Missing parts are "".
func ParsePlatform(text string) Platform {
	var p Platform
	os, rest, _ := strings.Cut(text, "/")
	os, version, _ := strings.Cut(os, "(")
	p.OS = os
	p.OSVersion = strings.TrimSuffix(version, ")")
	p.Architecture, p.Variant, _ = strings.Cut(rest, "/")
	return p
}

// String returns the platform as ParsePlatform reads it.
func (p Platform) String() string {
	parts := []string{p.OS, p.Architecture}
	if p.OSVersion != "" {
		parts[0] += "(" + p.OSVersion + ")"
	}
	if p.Variant != "" {
		parts = append(parts, p.Variant)
	}
	return strings.Join(parts, "/")
}

// Normalize returns the platform as BuildKit spells it in cache keys.
func (p Platform) Normalize() Platform {
	if p.OS = strings.ToLower(p.OS); p.OS == "macos" {
		p.OS = "darwin"
	}
	p.Architecture, p.Variant = normalizeArch(strings.ToLower(p.Architecture), strings.ToLower(p.Variant))
	return p
}

func normalizeArch(arch, variant string) (string, string) {
	switch arch {
	case "i386":
		return "386", ""
	case "x86_64", "x86-64", "amd64":
		if variant == "v1" {
			variant = ""
		}
		return "amd64", variant
	case "aarch64", "arm64":
		return "arm64", normalizeARM64(variant)
	case "armhf":
		return "arm", "v7"
	case "armel":
		return "arm", "v6"
	case "arm":
		switch variant {
		case "", "7":
			variant = "v7"
		case "5", "6", "8":
			variant = "v" + variant
		}
	}
	return arch, variant
}

func normalizeARM64(variant string) string {
	switch variant {
	case "8", "v8", "v8.0":
		return ""
	case "9", "9.0", "v9.0":
		return "v9"
	}
	return variant
}
