"""Any history, as tables or lines, in the order of arrival."""
