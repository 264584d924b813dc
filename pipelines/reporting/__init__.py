"""The HTML report: analysis, figures and markup."""
