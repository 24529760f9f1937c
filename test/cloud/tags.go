package cloud

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// checkTags refuses what EC2 refuses.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
func checkTags(tags map[string]string) error {
	for key, value := range tags {
		switch {
		case key == "" || utf8.RuneCountInString(key) > 128:
			return refuse("InvalidParameterValue", "Tag key exceeds the maximum length of 128 characters")
		case utf8.RuneCountInString(value) > 256:
			return refuse("InvalidParameterValue", "Tag value exceeds the maximum length of 256 characters")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return refuse("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		}
	}
	return nil
}

// withTags gives a copy of tags with more of them.
func withTags(tags, more map[string]string) (map[string]string, error) {
	all := maps.Clone(tags)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, more)
	if len(all) > 50 {
		return nil, refuse("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return all, nil
}

// tag adds tags to a volume, a snapshot or an instance.
func (w *world) tag(id string, tags map[string]string) (err error) {
	switch {
	case strings.HasPrefix(id, "vol-"):
		v, ok := w.volumes[id]
		if !ok {
			return noVolume(id)
		}
		v.Tags, err = withTags(v.Tags, tags)
		w.volumes[id] = v
	case strings.HasPrefix(id, "i-"):
		i, ok := w.instances[id]
		if !ok {
			return noInstance(id)
		}
		i.tags, err = withTags(i.tags, tags)
		if err == nil && i.tagsInIMDS {
			err = checkIMDSTags(i.tags)
		}
		w.instances[id] = i
	case strings.HasPrefix(id, "snap-"):
		s, ok := w.snapshots[id]
		if !ok {
			return noSnapshot(id)
		}
		s.Tags, err = withTags(s.Tags, tags)
		w.snapshots[id] = s
	default:
		return refuse("InvalidID", "The ID '%s' is not valid", id)
	}
	return err
}

// Tag adds tags to a volume, a snapshot or an instance.
func (e *EC2) Tag(id string, tags map[string]string) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return e.change(func(w *world) error { return w.tag(id, tags) })
}

// Untag takes tags away.
func (e *EC2) Untag(id string, keys ...string) error {
	return e.change(func(w *world) error {
		without := func(tags map[string]string) map[string]string {
			tags = maps.Clone(tags)
			maps.DeleteFunc(tags, func(key, _ string) bool { return slices.Contains(keys, key) })
			return tags
		}
		if v, ok := w.volumes[id]; ok {
			v.Tags = without(v.Tags)
			w.volumes[id] = v
		} else if i, ok := w.instances[id]; ok {
			i.tags = without(i.tags)
			w.instances[id] = i
		} else if s, ok := w.snapshots[id]; ok {
			s.Tags = without(s.Tags)
			w.snapshots[id] = s
		} else {
			return refuse("InvalidID", "The ID '%s' is not valid", id)
		}
		return nil
	})
}

// asksOfTags is for each resource; what is tagged may depend on what it has, and gets or loses.
func asksOfTags(action string) func(*EC2, query) []ask {
	return func(e *EC2, q query) []ask { return e.asksOfTags(action, q) }
}

func (e *EC2) asksOfTags(action string, q query) []ask {
	var asks []ask
	w := e.now()
	for _, id := range q.list("ResourceId") {
		kind, tags := "", map[string]string(nil)
		switch {
		case strings.HasPrefix(id, "vol-"):
			kind, tags = "volume", w.volumes[id].Tags
		case strings.HasPrefix(id, "i-"):
			kind, tags = "instance", w.instances[id].tags
		case strings.HasPrefix(id, "snap-"):
			kind, tags = "snapshot", w.snapshots[id].Tags
		default:
			continue // refused later, for what it is
		}
		context := tagged(tags)
		requested(context, q.tags("Tag"))
		asks = append(asks, ask{action, e.arn(kind, id), context})
	}
	return asks
}

// requested adds the condition keys of tags that a request wants to set.
func requested(context map[string][]string, tags map[string]string) {
	for key, value := range tags {
		context["aws:RequestTag/"+key] = []string{value}
		context["aws:TagKeys"] = append(context["aws:TagKeys"], key)
	}
}

func (e *EC2) createTags(q query) (response, error) {
	ids, tags := q.list("ResourceId"), q.tags("Tag")
	if len(ids) == 0 {
		return nil, refuse("MissingParameter", "The request must contain the parameter resourceIdSet")
	}
	if len(tags) == 0 {
		return nil, refuse("MissingParameter", "The request must contain the parameter tagSet")
	}
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	err := e.change(func(w *world) error {
		for _, id := range ids {
			if err := w.tag(id, tags); err != nil {
				return err
			}
		}
		return nil
	})
	return &returned{Return: true}, err
}

// deleteTags takes tags away, whatever their values.
func (e *EC2) deleteTags(q query) (response, error) {
	if err := q.need("ResourceId.1"); err != nil {
		return nil, err
	}
	for _, id := range q.list("ResourceId") {
		if err := e.Untag(id, slices.Collect(maps.Keys(q.tags("Tag")))...); err != nil {
			return nil, err
		}
	}
	return &returned{Return: true}, nil
}
