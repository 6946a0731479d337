//! Laws that every operator, flow, prior and likelihood must obey
