package block

import (
	"encoding/binary"
	"reflect"
	"testing"
)

func TestTheIdentifyCommandIsWhatTheKernelTakes(t *testing.T) {
	if size := binary.Size(struct {
		A [4]uint8
		B [3]uint32
		C [2]uint64
		D [10]uint32
	}{}); size != 72 || reflect.TypeFor[adminCommand]().Size() != 72 {
		t.Errorf("struct nvme_admin_cmd takes %d bytes", reflect.TypeFor[adminCommand]().Size())
	}
	var cmd adminCommand
	typ := reflect.TypeOf(cmd)
	for name, want := range map[string]uintptr{"nsid": 4, "metadata": 16, "addr": 24, "dataLen": 36, "cdw10": 40, "timeout": 64, "result": 68} {
		field, _ := typ.FieldByName(name)
		if field.Offset != want {
			t.Errorf("%s is at %d, want %d", name, field.Offset, want)
		}
	}
}
