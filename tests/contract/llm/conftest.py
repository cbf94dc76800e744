"""What the contract tests share."""

from tests.support.fast_blas import use_fast_blas

use_fast_blas()
