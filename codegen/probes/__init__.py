"""Rules that ask a framework one question each: `optloom doctor` runs them. They are no optimizers."""
