package api

import (
	"maps"
	"slices"
	"strings"

	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/iam"
)

// tagRequests returns what CreateTags or DeleteTags needs: the action on each resource, with the tags that it has
// and those that it gets or loses.
func tagRequests(action string) func(*Server, form) []iam.Request {
	return func(s *Server, f form) []iam.Request {
		var requests []iam.Request
		state := s.Now()
		for _, id := range f.list("ResourceId") {
			kind, tags := "", map[string]string(nil)
			switch {
			case strings.HasPrefix(id, "vol-"):
				kind, tags = "volume", state.Volumes[id].Tags
			case strings.HasPrefix(id, "i-"):
				kind, tags = "instance", state.Instances[id].Tags
			case strings.HasPrefix(id, "snap-"):
				kind, tags = "snapshot", state.Snapshots[id].Tags
			default:
				continue // the action itself refuses it
			}
			context := tagged(tags)
			requested(context, f.tags("Tag"))
			requests = append(requests, iam.Request{Action: action, Resource: s.arn(kind, id), Context: context})
		}
		return requests
	}
}

// tagged returns the condition keys of a resource with tags.
func tagged(tags map[string]string) map[string][]string {
	context := map[string][]string{}
	for key, value := range tags {
		context["ec2:ResourceTag/"+key] = []string{value}
		context["aws:ResourceTag/"+key] = []string{value}
	}
	return context
}

// requested adds the condition keys of tags that a call would set.
func requested(context map[string][]string, tags map[string]string) {
	for key, value := range tags {
		context["aws:RequestTag/"+key] = []string{value}
		context["aws:TagKeys"] = append(context["aws:TagKeys"], key)
	}
}

func (s *Server) createTags(f form) (response, error) {
	ids, tags := f.list("ResourceId"), f.tags("Tag")
	if len(ids) == 0 {
		return nil, ec2.Errorf("MissingParameter", "The request must contain the parameter resourceIdSet")
	}
	if len(tags) == 0 {
		return nil, ec2.Errorf("MissingParameter", "The request must contain the parameter tagSet")
	}
	return &returned{Return: true}, s.TagAll(ids, tags)
}

// deleteTags removes tags, whatever their values are.
func (s *Server) deleteTags(f form) (response, error) {
	if err := f.need("ResourceId.1"); err != nil {
		return nil, err
	}
	for _, id := range f.list("ResourceId") {
		if err := s.Untag(id, slices.Collect(maps.Keys(f.tags("Tag")))...); err != nil {
			return nil, err
		}
	}
	return &returned{Return: true}, nil
}
