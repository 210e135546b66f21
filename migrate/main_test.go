package migrate_test

import (
	"os"
	"testing"

	"github.com/ocicache/ocicache/internal/quicktest"
)

func TestMain(m *testing.M) { os.Exit(quicktest.Of(m).Run()) }
