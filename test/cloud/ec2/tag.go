package ec2

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// checkTags refuses tags that EC2 refuses.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
func checkTags(tags map[string]string) error {
	for key, value := range tags {
		switch {
		case key == "" || utf8.RuneCountInString(key) > 128:
			return Errorf("InvalidParameterValue", "Tag key exceeds the maximum length of 128 characters")
		case utf8.RuneCountInString(value) > 256:
			return Errorf("InvalidParameterValue", "Tag value exceeds the maximum length of 256 characters")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return Errorf("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		}
	}
	return nil
}

// withTags returns a copy of tags with more tags.
func withTags(tags, more map[string]string) (map[string]string, error) {
	all := maps.Clone(tags)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, more)
	if len(all) > 50 {
		return nil, Errorf("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return all, nil
}

// tag adds tags to a volume, a snapshot or an instance.
func (s *State) tag(id string, tags map[string]string) error {
	switch {
	case strings.HasPrefix(id, "vol-"):
		v, err := s.Volume(id)
		if err != nil {
			return err
		}
		v.Tags, err = withTags(v.Tags, tags)
		s.Volumes[id] = v
		return err
	case strings.HasPrefix(id, "i-"):
		i, err := s.Instance(id)
		if err != nil {
			return err
		}
		i.Tags, err = withTags(i.Tags, tags)
		if err == nil && i.tagsInIMDS {
			err = checkIMDSTags(i.Tags)
		}
		s.Instances[id] = i
		return err
	case strings.HasPrefix(id, "snap-"):
		snapshot, err := s.Snapshot(id)
		if err != nil {
			return err
		}
		snapshot.Tags, err = withTags(snapshot.Tags, tags)
		s.Snapshots[id] = snapshot
		return err
	default:
		return Errorf("InvalidID", "The ID '%s' is not valid", id)
	}
}

// Tag adds tags to a volume, a snapshot or an instance.
func (e *EC2) Tag(id string, tags map[string]string) error { return e.TagAll([]string{id}, tags) }

// TagAll adds tags to several resources, or to none of them if that fails for one.
func (e *EC2) TagAll(ids []string, tags map[string]string) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return e.change(func(s *State) error {
		for _, id := range ids {
			if err := s.tag(id, tags); err != nil {
				return err
			}
		}
		return nil
	})
}

// Untag removes tags from a volume, a snapshot or an instance.
func (e *EC2) Untag(id string, keys ...string) error {
	return e.change(func(state *State) error {
		without := func(tags map[string]string) map[string]string {
			tags = maps.Clone(tags)
			maps.DeleteFunc(tags, func(key, _ string) bool { return slices.Contains(keys, key) })
			return tags
		}
		if v, ok := state.Volumes[id]; ok {
			v.Tags = without(v.Tags)
			state.Volumes[id] = v
		} else if i, ok := state.Instances[id]; ok {
			i.Tags = without(i.Tags)
			state.Instances[id] = i
		} else if s, ok := state.Snapshots[id]; ok {
			s.Tags = without(s.Tags)
			state.Snapshots[id] = s
		} else {
			return Errorf("InvalidID", "The ID '%s' is not valid", id)
		}
		return nil
	})
}
