package registry

import (
	"fmt"
	"strings"

	"github.com/containers/image/v5/docker/reference"
)

// byHand returns a command that deletes a tag if the host has an interface of its own for that, else "". If the command deletes
// other tags as well, byHand returns "" for a tag that shares its root.
func (r *Repository) byHand(tag string, shared bool) string {
	profile, _ := ProfileForRepository(r.name.Name())
	host, path := reference.Domain(r.name), reference.Path(r.name)
	owner, rest, _ := strings.Cut(path, "/")
	switch profile.Name {
	case "ghcr":
		if shared { // a version is deleted with all of its tags
			return ""
		}
		versions := fmt.Sprintf("/users/%s/packages/container/%s/versions", owner, strings.ReplaceAll(rest, "/", "%2F"))
		return fmt.Sprintf(`gh api --paginate %s --jq '.[] | select(.metadata.container.tags | index("%s")) | .id' | `+
			"xargs -I{} gh api --method DELETE %s/{}  # for an organisation: /orgs/", versions, tag, versions)
	case "ecr":
		region := ""
		if words := strings.Split(host, "."); len(words) > 3 {
			region = " --region " + words[3]
		}
		return fmt.Sprintf("aws ecr batch-delete-image%s --repository-name %s --image-ids imageTag=%s", region, path, tag)
	case "ecr-public":
		return fmt.Sprintf("aws ecr-public batch-delete-image --region us-east-1 --repository-name %s --image-ids imageTag=%s", rest, tag)
	case "docker-hub":
		return fmt.Sprintf(`curl -X DELETE -H "Authorization: Bearer $TOKEN" https://hub.docker.com/v2/namespaces/%s/repositories/%s/tags/%s`, owner, rest, tag)
	case "quay-3.12":
		return fmt.Sprintf(`curl -X DELETE -H "Authorization: Bearer $TOKEN" https://%s/api/v1/repository/%s/tag/%s`, host, path, tag)
	case "acr":
		name, _, _ := strings.Cut(host, ".")
		return fmt.Sprintf("az acr repository untag --name %s --image %s:%s", name, path, tag)
	case "gcr":
		return fmt.Sprintf("gcloud container images untag %s/%s:%s --quiet", host, path, tag)
	case "artifact-registry":
		return fmt.Sprintf("gcloud artifacts docker tags delete %s/%s:%s --quiet", host, path, tag)
	default:
		return ""
	}
}
