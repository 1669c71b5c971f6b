"""The grammar of values: how numbers, measures, money, dates, times and names are written."""
